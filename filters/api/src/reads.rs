//! What somebody looks at of a payload.

use vrl::value::KeyString;

/// Which part of a record's payload is looked at, so that the rest need not be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Any of it.
    #[default]
    Everything,
    /// If it is an object, these of its members with all below them, each named once; otherwise any of it. No names: it is
    /// handed on as it is.
    Members(Vec<KeyString>),
}

impl Reads {
    /// None of it.
    pub const fn nothing() -> Self {
        Self::Members(Vec::new())
    }

    /// What `self` and `other` look at.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Members(mut all), Self::Members(more)) => {
                more.into_iter().for_each(|name| add(&mut all, name));
                Self::Members(all)
            }
            _ => Self::Everything,
        }
    }

    /// What paths lead to: the member each begins with. A path that begins with a position, or nowhere, may meet any of it.
    pub fn of_paths<'p>(paths: impl IntoIterator<Item = &'p vrl::path::OwnedValuePath>) -> Self {
        let mut all = Vec::new();
        for path in paths {
            match path.segments.first() {
                Some(vrl::path::OwnedSegment::Field(name)) => add(&mut all, name.clone()),
                _ => return Self::Everything,
            }
        }
        Self::Members(all)
    }
}

fn add(all: &mut Vec<KeyString>, name: KeyString) {
    if !all.contains(&name) {
        all.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrl::path::parse_value_path;

    #[test]
    fn paths_name_the_members_they_begin_with() {
        let of =
            |paths: &[&str]| Reads::of_paths(&paths.iter().map(|p| parse_value_path(p).unwrap()).collect::<Vec<_>>());
        let members = |names: &[&str]| Reads::Members(names.iter().map(|n| KeyString::from(*n)).collect());
        assert_eq!(of(&["a.b", "c[0]", "a"]), members(&["a", "c"]));
        assert_eq!(of(&["a", "."]), Reads::Everything);
        assert_eq!(of(&["[0].a"]), Reads::Everything);
        assert_eq!(of(&[]), Reads::nothing());
        assert_eq!(of(&["a"]).and(of(&["b", "a"])), members(&["a", "b"]));
        assert_eq!(of(&["a"]).and(Reads::Everything), Reads::Everything);
    }
}
