//! What a schema registry says of a pipeline's schemas, for `check --brokers`. Nothing is registered.

use std::collections::BTreeSet;

use millstream_codec::{Answer, Question, Registered, SchemaRegistry, Subject};
use millstream_spec::model::{Format, Pipeline};

/// What is wrong, one sentence for each topic.
pub fn wrong(pipeline: &Pipeline) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in &pipeline.sources {
        if let Format::Registered(avro) = &source.format {
            wrong.extend(unreadable(&source.topic, avro).err());
        }
    }
    let mut asked = BTreeSet::new();
    for output in pipeline.stages.iter().flat_map(|s| &s.outputs) {
        let Format::Registered(avro) = &output.format else { continue };
        if let Some(subject) = avro.subject().filter(|_| asked.insert(&output.topic)) {
            wrong.extend(unwritable(&output.topic, &**avro.registry(), subject).err());
        }
    }
    wrong
}

/// Whether the schema that the pipeline names can read what the latest one of the topic has written. A topic whose subject is
/// named in another way is not known here.
fn unreadable(topic: &str, avro: &Registered) -> Result<(), String> {
    let subject = format!("{topic}-value");
    let latest = avro.registry().ask(&Question::Latest(&subject)).map_err(|why| unanswered(avro, &why))?;
    if let (Answer::Protobuf(id, files), Some(message)) = (&latest, avro.message()) {
        return match files.message(Some(message.name()), false) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!(
                "the source does not read what is written to `{topic}` by schema {id}, the latest of `{subject}`, which is {why}"
            )),
        };
    }
    let (Answer::Schema(id, written), Some(schema)) = (latest, avro.schema()) else { return Ok(()) };
    match schema.cannot_read(&written).as_slice() {
        [] => Ok(()),
        why => Err(format!(
            "the schema of the source cannot read what is written to `{topic}` by schema {id}, the latest of `{subject}`: {}",
            why.join("; ")
        )),
    }
}

fn unwritable(topic: &str, registry: &dyn SchemaRegistry, subject: &Subject) -> Result<(), String> {
    let name = &subject.name;
    let ask = |question| registry.ask(&question).map_err(|why| format!("topic `{topic}`, subject `{name}`: {why}"));
    if !matches!(ask(Question::Lookup(subject))?, Answer::Nothing) {
        return Ok(());
    }
    // Where there is no version yet, any will do.
    if let Answer::Compatible(Err(why)) = ask(Question::Compatible(subject))? {
        return Err(format!("the schema of topic `{topic}` is not compatible with the latest of `{name}`: {why}"));
    }
    match subject.register {
        true => Ok(()),
        false => Err(format!(
            "the schema of topic `{topic}` is not registered under `{name}`; register it there, or say `register: true`"
        )),
    }
}

fn unanswered(avro: &Registered, why: &str) -> String {
    format!("the schema registry at {} gives no answer: {why}", avro.registry().address())
}
