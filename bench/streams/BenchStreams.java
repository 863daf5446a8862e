import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * What Millstream is measured beside: the same work on Kafka Streams, in one thread, exactly once, committed every 100 ms; else with
 * its defaults. Arguments: brokers, application id, topic to read, topic to write, work (pass, map, dedup), folder of states.
 */
public final class BenchStreams {
    private static final String SEEN = "seen";

    public static void main(String[] args) throws InterruptedException {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> input = builder.stream(args[2]);
        KStream<byte[], byte[]> output = switch (args[4]) {
            case "pass" -> input;
            case "map" -> mapped(input);
            case "dedup" -> deduplicated(builder, input);
            default -> throw new IllegalArgumentException("no such work: " + args[4]);
        };
        output.to(args[3]);

        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[5]);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            ended.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
        System.exit(1);
    }

    /** Parses once; drops what has no quantity; adds a field. */
    private static KStream<byte[], byte[]> mapped(KStream<byte[], byte[]> input) {
        ObjectMapper json = new ObjectMapper();
        return input
            .mapValues(bytes -> parse(json, bytes))
            .filter((key, order) -> order.get("quantity").asLong() > 0)
            .mapValues(order -> {
                double total = order.get("quantity").asLong() * order.get("unit_price").asDouble();
                return write(json, ((ObjectNode) order).put("total", total));
            });
    }

    private static JsonNode parse(ObjectMapper json, byte[] bytes) {
        try {
            return json.readTree(bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static byte[] write(ObjectMapper json, JsonNode value) {
        try {
            return json.writeValueAsBytes(value);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A store of all ids that came, kept for ever: it has less to do than one that forgets them after a day. */
    private static KStream<byte[], byte[]> deduplicated(StreamsBuilder builder, KStream<byte[], byte[]> input) {
        builder.addStateStore(Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore(SEEN), Serdes.ByteArray(), Serdes.ByteArray()));
        return input.process(Deduplicate::new, SEEN);
    }

    private static final class Deduplicate implements Processor<byte[], byte[], byte[], byte[]> {
        private static final byte[] HERE = {1};
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> seen;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            this.seen = context.getStateStore(SEEN);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            if (seen.putIfAbsent(record.headers().lastHeader("id").value(), HERE) == null) {
                context.forward(record);
            }
        }
    }
}
