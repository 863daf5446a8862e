//! Kafka's own command-line tools, from the same jars: a second opinion that shares no code with ours.

use std::process::Command;

use crate::{HarnessResult, jars};

/// A tool by its main class, such as `org.apache.kafka.tools.consumer.ConsoleConsumer`, ready to be given arguments.
pub fn tool(class: &str) -> HarnessResult<Command> {
    jars::check_java()?;
    let java = jars::java(&jars::folder()?, 256, false);
    let mut command = Command::new(&java[0]);
    command.args(&java[1..]).arg(class);
    Ok(command)
}
