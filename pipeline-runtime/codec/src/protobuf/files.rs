//! A `.proto` file with all that it imports, or a set of descriptors.

use std::fmt;

use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};

use super::schema::ProtobufSchema;

/// Files that one imports, and those import, at most.
const MAX_FILES: usize = 500;
/// Bytes of all of them.
const MAX_TEXT: usize = 16 << 20;
/// Blocks within blocks in a file.
const MAX_NESTING: usize = 100;
/// What is said of a set of descriptors that is not whole.
const WHOLE: &str = "a set is made with `protoc --include_imports --descriptor_set_out=FILE`";

/// Files that were read. Cloning shares them.
#[derive(Clone)]
pub struct ProtobufFiles {
    main: FileDescriptor,
    text: Option<String>,
}

/// What stands where an import says: nothing, a text, or why it cannot be read.
type Import = Option<Result<String, String>>;

impl ProtobufFiles {
    /// Compiles the text of a `.proto` file. `name` is what others would import it as; `read` gives the texts of imports, but for
    /// those that are Google's own (`google/protobuf/…`), which are here.
    ///
    /// # Errors
    /// What is wrong, with file, line and column where there are such: lower case, no full stop.
    pub fn compile(name: &str, text: &str, read: &mut dyn FnMut(&str) -> Import) -> Result<Self, String> {
        let (mut pool, googles) = (DescriptorPool::new(), DescriptorPool::global());
        let mut bytes = text.len();
        let mut parsed = vec![parse(name, text)?];
        // A file comes after those that it imports; this is the way to the one whose turn it is, with its next import.
        let mut way = vec![0];
        let mut files = 1;
        while let (Some(file), Some(next)) = (parsed.last(), way.last_mut()) {
            let Some(import) = file.dependency.get(*next).cloned() else {
                way.pop();
                let Some(file) = parsed.pop() else { break };
                let named = file.name().to_owned();
                pool.add_file_descriptor_proto(file).map_err(|e| located(&named, &e))?;
                continue;
            };
            *next += 1;
            if pool.get_file_by_name(&import).is_some() {
                continue;
            }
            if let Some(at) = parsed.iter().position(|file| file.name() == import) {
                let names: Vec<&str> = parsed[at..].iter().map(|file| file.name()).collect();
                return Err(format!("`{import}` imports itself, by way of {}", names.join(", ")));
            }
            if let Some(own) = googles.get_file_by_name(&import) {
                parsed.push(own.file_descriptor_proto().clone());
                way.push(0);
                continue;
            }
            let importer = file.name();
            let text = match read(&import) {
                Some(Ok(text)) => text,
                Some(Err(why)) => return Err(format!("`{importer}` imports `{import}`: {why}")),
                None => return Err(format!("`{importer}` imports `{import}`, which is not there")),
            };
            (bytes, files) = (bytes + text.len(), files + 1);
            if files > MAX_FILES || bytes > MAX_TEXT {
                return Err(format!("it imports more than {MAX_FILES} files, or {MAX_TEXT} bytes"));
            }
            parsed.push(parse(&import, &text)?);
            way.push(0);
        }
        match pool.get_file_by_name(name) {
            Some(main) => Ok(Self { main, text: Some(text.to_owned()) }),
            None => Err("it was not compiled".to_owned()),
        }
    }

    /// Reads a serialized set of descriptors, whose last file is the one that is meant.
    ///
    /// # Errors
    /// What is wrong: lower case, no full stop.
    pub fn descriptor_set(bytes: &[u8]) -> Result<Self, String> {
        // Google's own may be in it or not.
        let own = DescriptorPool::decode(bytes).map(|pool| (pool, 0)).or_else(|_| {
            let mut pool = DescriptorPool::global();
            let before = pool.files().len();
            pool.decode_file_descriptor_set(bytes).map(|()| (pool, before))
        });
        let (pool, before) = own.map_err(|e| format!("no set of descriptors: {e}; {WHOLE}"))?;
        // Each file stands behind those that it imports.
        let main = pool.files().skip(before).last().ok_or("an empty set of descriptors")?;
        Ok(Self { main, text: None })
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &DescriptorPool {
        self.main.parent_pool()
    }

    /// The text of the file; sets of descriptors have none.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Bytes that it takes, about: ten times those of its description.
    pub fn size(&self) -> usize {
        10 * self.main.parent_pool().encode_to_vec().len()
    }

    /// Imports of the file, as it names them; not those that are Google's own.
    pub fn imports(&self) -> Vec<String> {
        let all = self.main.dependencies().map(|file| file.name().to_owned());
        all.filter(|name| !name.starts_with("google/protobuf/")).collect()
    }

    /// One of its messages: by its full name or by its name in the package of the file; by none where there is but one.
    /// `wide` takes 64 bits without sign as text.
    ///
    /// # Errors
    /// What is wrong: lower case, no full stop.
    pub fn message(&self, name: Option<&str>, wide: bool) -> Result<ProtobufSchema, String> {
        let all: Vec<MessageDescriptor> = self.main.messages().collect();
        let names = || {
            let names: Vec<String> = all.iter().take(20).map(|message| format!("`{}`", message.full_name())).collect();
            names.join(", ")
        };
        let message = match (name, all.as_slice()) {
            (Some(name), _) => {
                let pool = self.main.parent_pool();
                let package = self.main.package_name();
                let found = pool.get_message_by_name(name);
                let found = found.or_else(|| pool.get_message_by_name(&format!("{package}.{name}")));
                found.ok_or_else(|| format!("without a message `{name}`; it has {}", names()))?
            }
            (None, [one]) => one.clone(),
            (None, []) => return Err("without a message".to_owned()),
            (None, _) => {
                return Err(format!(
                    "with {} messages ({}); say which one is meant with `message`",
                    all.len(),
                    names()
                ));
            }
        };
        ProtobufSchema::new(self, &message, wide)
    }

    /// The message that a path of indexes names: of the file's messages the first, of those in it the others.
    ///
    /// # Errors
    /// There is none, or it cannot be used: lower case, no full stop.
    pub fn at(&self, path: &[i32], wide: bool) -> Result<ProtobufSchema, String> {
        let nth = |all: &mut dyn Iterator<Item = MessageDescriptor>, index: i32| {
            usize::try_from(index).ok().and_then(|index| all.nth(index))
        };
        let (first, rest) = path.split_first().unwrap_or((&0, &[]));
        let found = rest.iter().try_fold(nth(&mut self.main.messages(), *first), |message, index| {
            message.map(|message| nth(&mut message.child_messages(), *index))
        });
        let found = found.flatten().ok_or_else(|| format!("it has no message at {path:?}"))?;
        ProtobufSchema::new(self, &found, wide)
    }
}

impl fmt::Debug for ProtobufFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtobufFiles").field(&self.main.name()).finish()
    }
}

fn parse(name: &str, text: &str) -> Result<prost_reflect::prost_types::FileDescriptorProto, String> {
    // The parser calls itself for what is nested.
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'<' | b'[' => depth += 1,
            b'}' | b'>' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(format!("`{name}` is nested more than {MAX_NESTING} deep"));
        }
    }
    if text.contains("edition") && text.lines().any(|line| line.trim_start().starts_with("edition")) {
        return Err(format!("`{name}` is of an edition, which is not supported yet; `proto2` and `proto3` are"));
    }
    // Its long form has line and column.
    protox_parse::parse(name, text).map_err(|e| format!("no Protobuf: {e:?}"))
}

fn located(name: &str, error: &prost_reflect::DescriptorError) -> String {
    match (error.line(), error.column()) {
        (Some(line), Some(column)) => format!("no Protobuf: {name}:{}:{}: {error}", line + 1, column + 1),
        _ => format!("no Protobuf: {name}: {error}"),
    }
}
