//! Finished ranges, read without the engine.

/// An independent reader of the commit metadata: `1`, then base64url of varints (distance from the end before, length).
pub fn read_ranges(offset: i64, metadata: &str) -> Result<Vec<(i64, i64)>, String> {
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    let (mut bits, mut have, mut bytes) = (0u32, 0, Vec::new());
    for c in metadata.strip_prefix('1').ok_or("metadata without its version")?.chars() {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        bits = bits << 6 | ALPHABET.find(c).ok_or("metadata is not base64url")? as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0i64, 0);
    for byte in bytes {
        number |= i64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    let mut at = offset;
    Ok(numbers
        .chunks(2)
        .map(|pair| {
            let start = at + pair[0];
            at = start + pair[1];
            (start, at)
        })
        .collect())
}
