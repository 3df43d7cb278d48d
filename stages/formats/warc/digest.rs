//! Checks the digests that a record states of its block and of its payload.
//!
//! A digest is `algorithm:value`, the value in base 32 (upper case), base 16 (either case) or base 64 (either
//! alphabet); it is right if it is right in one of them. The payload's digest is that of the body as
//! transferred, with its chunks, as most crawlers compute it.

use md5::Md5;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What a stated digest turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    UnknownAlgorithm,
}

/// Compares a stated digest with that of `bytes`.
pub(super) fn verify(stated: &str, bytes: &[u8]) -> Verdict {
    let Some((algorithm, value)) = stated.split_once(':') else { return Verdict::UnknownAlgorithm };
    let Some(digest) = digest_of(algorithm, bytes) else { return Verdict::UnknownAlgorithm };
    let base32 = encode_base32(&digest);
    let is_right = value.trim_end_matches('=') == base32.trim_end_matches('=')
        || decode_base16(value).is_some_and(|value| value == digest)
        || decode_base64(value).is_some_and(|value| value == digest);
    if is_right { Verdict::Right } else { Verdict::Wrong }
}

fn digest_of(algorithm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm.to_ascii_lowercase().as_str() {
        "sha1" | "sha-1" => Sha1::digest(bytes).to_vec(),
        "md5" => Md5::digest(bytes).to_vec(),
        "sha224" | "sha-224" => Sha224::digest(bytes).to_vec(),
        "sha256" | "sha-256" => Sha256::digest(bytes).to_vec(),
        "sha384" | "sha-384" => Sha384::digest(bytes).to_vec(),
        "sha512" | "sha-512" => Sha512::digest(bytes).to_vec(),
        _ => return None,
    })
}

/// RFC 4648, section 6, with padding.
fn encode_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut bits = [0; 5];
        for (to, from) in bits.iter_mut().zip(group) {
            *to = *from;
        }
        let bits = bits.iter().fold(0u64, |bits, &byte| (bits << 8) | u64::from(byte));
        let digits = (group.len() * 8).div_ceil(5);
        for digit in 0..8 {
            let value = usize::try_from((bits >> (35 - 5 * digit)) & 31).expect("five bits fit usize");
            text.push(if digit < digits { char::from(BASE32[value]) } else { '=' });
        }
    }
    text
}

fn decode_base16(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// RFC 4648, sections 4 and 5; padding is not asked for.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bits = 0u32;
    let mut bit_count = 0;
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = ((bits & 0xffff) << 6) | u32::from(value);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push(u8::try_from((bits >> bit_count) & 0xff).expect("one byte"));
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_right_in_each_spelling() {
        // SHA-1 of no bytes (FIPS 180-4), in base 32, base 16 of either case and base 64 of either alphabet.
        for stated in [
            "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ",
            "SHA1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "sha1:DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
            "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "sha1:2jmj7l5rSw0yVb_vlWAYkK_YBwk",
            "md5:2QOYZWMPACZAJ2MABGMOZ6CCPY======",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "sha-256:4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ====",
            "sha256:4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ",
        ] {
            assert_eq!(verify(stated, b""), Verdict::Right, "{stated}");
            assert_eq!(verify(stated, b"x"), Verdict::Wrong, "{stated}");
        }
    }

    #[test]
    fn a_digest_that_cannot_be_judged_says_so() {
        for stated in ["asdf", "", "crc32:00000000", "has space:asdf"] {
            assert_eq!(verify(stated, b""), Verdict::UnknownAlgorithm, "{stated}");
        }
        for stated in ["sha1:&$*^&*^#*&^", "sha1:", "md5:é"] {
            assert_eq!(verify(stated, b""), Verdict::Wrong, "{stated}");
        }
    }
}
