//! Integers of few bytes, little end first, seven bits a byte; signed ones zigzag.

/// Appends an unsigned integer.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bytes [`put`] takes for `value`.
pub fn len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes an unsigned integer off the front; `None` if it is cut off or longer than 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(first & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes a signed integer off the front.
pub fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes).map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back(value: u64, signed: i64, shift in 0u32..64) {
            let mut out = Vec::new();
            put(&mut out, value >> shift);
            prop_assert_eq!(out.len(), len(value >> shift));
            put_signed(&mut out, signed >> shift);
            let mut rest = &out[..];
            prop_assert_eq!(take(&mut rest), Some(value >> shift));
            prop_assert_eq!(take_signed(&mut rest), Some(signed >> shift));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while take(&mut rest).is_some() {}
        }
    }
}
