//! Fields of a payload that its message type does not know: what is left of it beside the value, so that a payload that is
//! changed keeps them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::KeyString;

use super::decode::{MAX_DEPTH, Reader};
use super::schema::{Form, Of, ProtobufSchema, Types};
use super::wire::{Cursor, Got, Wire};

/// What is left of a message.
#[derive(Default)]
pub(super) struct Left {
    /// Fields as they stand there, one after the other.
    pub unknown: Vec<u8>,
    /// The same of messages in it, by the place of the field.
    pub below: Vec<(usize, Below)>,
}

pub(super) enum Below {
    One(Left),
    /// Of a list, in its order.
    Items(Vec<Left>),
    Entries(BTreeMap<KeyString, Left>),
}

impl Left {
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.below.is_empty()
    }

    pub fn at(&self, place: usize) -> Option<&Below> {
        self.below.iter().find(|(at, _)| *at == place).map(|(_, below)| below)
    }

    pub fn item(&mut self, place: usize, left: Left) {
        match self.below.iter_mut().find(|(at, _)| *at == place) {
            Some((_, Below::Items(items))) => items.push(left),
            _ => self.below.push((place, Below::Items(vec![left]))),
        }
    }

    pub fn entry(&mut self, place: usize, key: KeyString, left: Left) {
        match self.below.iter_mut().find(|(at, _)| *at == place) {
            Some((_, Below::Entries(entries))) => drop(entries.insert(key, left)),
            _ => self.below.push((place, Below::Entries(BTreeMap::from([(key, left)])))),
        }
    }
}

impl ProtobufSchema {
    /// The value of a payload and what is left of it, where there is any.
    pub(super) fn left(&self, raw: &Bytes) -> Option<(Value, Left)> {
        let at = match self.root() {
            Of::Message(at) if has_unknown(self.types(), at, raw, 0).unwrap_or(false) => at,
            _ => return None,
        };
        let mut left = Left::default();
        // It was decoded before.
        let value = Reader::new(self.types(), raw, true).value(Of::Message(at), raw, &mut left).ok()?;
        Some((value, left))
    }
}

/// Most payloads have none, and seeing that costs no values.
fn has_unknown(types: &Types, at: usize, raw: &Bytes, depth: usize) -> Got<bool> {
    let message = &types.messages[at];
    let mut cursor = Cursor::new(raw);
    while !cursor.done() {
        let (number, wire) = cursor.tag()?;
        let Some(field) = message.field(number).map(|place| &message.fields[place]) else { return Ok(true) };
        let packable = matches!(field.form, Form::List { .. }) && wire == Wire::Length;
        let known = wire == field.of.wire() || packable || matches!(field.form, Form::Map(_)) && wire == Wire::Length;
        // Which numbers of a closed enum are known is seen when it is read.
        let closed = matches!(field.of, Of::Enum(at) if types.enums[at].closed);
        if !known || closed || depth > MAX_DEPTH {
            return Ok(true);
        }
        let inner = match (field.form, field.of) {
            (Form::Map(_), Of::Message(value)) => {
                let entry = cursor.bytes()?;
                let mut inside = Cursor::new(&entry);
                while !inside.done() {
                    match inside.tag()? {
                        (2, Wire::Length) => {
                            if has_unknown(types, value, &inside.bytes()?, depth + 1)? {
                                return Ok(true);
                            }
                        }
                        (number, wire) => inside.skip(number, wire)?,
                    }
                }
                continue;
            }
            (_, Of::Message(inner)) => (inner, cursor.bytes()?),
            (_, Of::Group(inner)) => (inner, cursor.group(number)?),
            _ => {
                cursor.skip(number, wire)?;
                continue;
            }
        };
        if has_unknown(types, inner.0, &inner.1, depth + 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which item of a list each item was before: the one that is equal to it, in its place or in another. What was changed is the one
/// in its place, if the list is as long as it was and none has moved.
// Values of payloads have no regular expressions, which could change.
#[allow(clippy::mutable_key_type)]
pub(super) fn before(items: &[Value], old: &[Value]) -> Vec<Option<usize>> {
    let stayed = |n: usize| old.get(n).is_some_and(|old| *old == items[n]);
    let mut from: Vec<Option<usize>> = (0..items.len()).map(|n| stayed(n).then_some(n)).collect();
    let mut others: HashMap<&Value, VecDeque<usize>> = HashMap::new();
    for (n, item) in old.iter().enumerate() {
        if from.get(n).is_none_or(Option::is_none) {
            others.entry(item).or_default().push_back(n);
        }
    }
    let mut moved = false;
    for (n, item) in items.iter().enumerate() {
        if from[n].is_none()
            && let Some(at) = others.get_mut(item).and_then(VecDeque::pop_front)
        {
            from[n] = Some(at);
            moved = true;
        }
    }
    if !moved && items.len() == old.len() {
        for (n, from) in from.iter_mut().enumerate() {
            from.get_or_insert(n);
        }
    }
    from
}
