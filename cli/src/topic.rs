//! A topic named on the command line.

use millstream_log::{Log, TopicInfo};

use crate::failure::Failure;

/// What is known of a topic that must be there.
pub fn existing(log: &dyn Log, topic: &str) -> Result<TopicInfo, Failure> {
    if let Some(info) = find(log, topic)? {
        return Ok(info);
    }
    let missing = Failure::failed(format!("topic `{topic}` does not exist on {}", log.name()));
    let all = log.topics().map_err(|e| Failure::log(&e))?;
    Err(match millstream_spec::nearest(topic, all.iter().map(String::as_str)) {
        Some(near) => missing.help(format!("did you mean `{near}`?")),
        None if all.is_empty() => missing.help("there are no topics there"),
        None if all.len() <= 20 => missing.help(format!("there are {}", all.join(", "))),
        None => missing.help(format!("there are {} others", all.len())),
    })
}

/// Refuses what is no name.
pub fn named(topic: &str) -> Result<(), Failure> {
    if topic.is_empty() { Err(Failure::wrong("a topic has a name")) } else { Ok(()) }
}

/// What is known of a topic, if it is there.
pub fn find(log: &dyn Log, topic: &str) -> Result<Option<TopicInfo>, Failure> {
    named(topic)?;
    Ok(log.describe(&[topic]).map_err(|e| Failure::log(&e))?.into_iter().next().flatten())
}
