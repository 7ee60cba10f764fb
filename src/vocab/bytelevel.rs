//! GPT-2's way of writing bytes as characters: every byte has a visible character of its own.
//!
//! Bytes that print in Latin-1 stand for themselves, the other 68 for U+0100 onwards in order (a space is 'Ġ', U+0120).

/// The character of each byte; all lie below U+0144.
const CHARS: [u16; 256] = chars();
/// The byte of each character, -1 where it is none.
const BYTES: [i16; 0x144] = bytes();

const fn chars() -> [u16; 256] {
    let (mut table, mut next, mut b) = ([0u16; 256], 0x100, 0);
    while b < 256 {
        let visible = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xFF && b != 0xAD);
        table[b] = if visible { b as u16 } else { next };
        next += !visible as u16;
        b += 1;
    }
    table
}

const fn bytes() -> [i16; 0x144] {
    let (chars, mut table, mut b) = (chars(), [-1i16; 0x144], 0);
    while b < 256 {
        table[chars[b] as usize] = b as i16;
        b += 1;
    }
    table
}

pub(super) fn char_of(byte: u8) -> char {
    char::from_u32(CHARS[byte as usize].into()).unwrap_or_default()
}

/// Appends the characters of `bytes` to `out`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for b in bytes {
        out.extend_from_slice(char_of(*b).encode_utf8(&mut buffer).as_bytes());
    }
}

/// Appends the bytes that the characters of `text` stand for; what is no such character passes as it is.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match BYTES.get(c as usize) {
                Some(b) if *b >= 0 => out.push(*b as u8),
                _ => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let (mut text, mut back) = (Vec::new(), Vec::new());
        super::encode(&all, &mut text);
        super::decode(&text, &mut back);
        assert_eq!(back, all);
        assert_eq!(super::char_of(b' '), 'Ġ');
        assert_eq!(super::char_of(b'\n'), 'Ċ');
        assert_eq!(super::char_of(0xFF), 'ÿ');
    }

    #[test]
    fn other_characters_and_bad_utf8_pass() {
        let mut back = Vec::new();
        super::decode(b"a\xE2\x82\xAC\xFF", &mut back);
        assert_eq!(back, b"a\xE2\x82\xAC\xFF");
    }
}
