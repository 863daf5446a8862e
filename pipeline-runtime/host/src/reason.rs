//! Why a part of a pipeline gave up.

/// Why a thread gave up, and how many more did for the same reason.
pub struct Reason {
    /// Which part of the pipeline, with `: `.
    pub part: String,
    /// The code of the error.
    pub code: &'static str,
    /// The whole line.
    pub text: String,
    /// How many more met the same.
    pub more: u32,
}

impl Reason {
    /// One line.
    pub fn show(&self) -> String {
        match self.more {
            0 => self.text.clone(),
            1 => format!("{} (one more replica met the same)", self.text),
            more => format!("{} ({more} more replicas met the same)", self.text),
        }
    }
}
