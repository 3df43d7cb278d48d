//! Puts text right that was written in UTF-8 and read in some single-byte encoding ("schÃ¶n" for "schön").
//!
//! Follows the published behaviour of ftfy 6.3: a text is touched only if it holds a sequence of characters that
//! hardly occurs on purpose ([`is_bad`]); then each encoding that can write the whole text is tried in turn, and the
//! first whose bytes are UTF-8 wins; failing that, the parts that look like UTF-8 are tried alone. O(length) for
//! each layer of damage, at most [`LAYERS`].

use std::collections::HashMap;
use std::sync::LazyLock;

use encoding_rs::{
    Encoding, ISO_8859_2, MACINTOSH, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1253, WINDOWS_1254, WINDOWS_1257,
};

/// Layers of damage that are taken off; each at least halves what a character was blown up to.
const LAYERS: usize = 16;
/// How deep damaged parts are looked for inside damaged parts.
const DEPTH: usize = 4;
/// Stands, in the encodings of Windows, for a byte that was lost and shows as U+FFFD.
const LOST: u8 = 0x1A;

/// Characters 128 to 254 of code page 437; 255 is a no-break space.
const CODE_PAGE_437: &str = "\
ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■";

/// A single-byte encoding that text may have been read in by mistake.
#[derive(Debug)]
struct Charmap {
    bytes: HashMap<char, u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// ISO 8859-1, byte for character.
    Latin1,
    /// One of Windows; holes are filled from ISO 8859-1, and [`LOST`] stands for U+FFFD.
    Windows,
    /// ISO 8859-2.
    Latin2,
    /// The old Macintosh.
    Macintosh,
    /// The old IBM PC.
    Pc,
}

/// In the order in which they are tried.
static CHARMAPS: LazyLock<Vec<Charmap>> = LazyLock::new(|| {
    let windows = [WINDOWS_1252, WINDOWS_1251, WINDOWS_1250, WINDOWS_1253, WINDOWS_1254, WINDOWS_1257];
    let mut charmaps = vec![Charmap::new(Kind::Latin1, char::from)];
    charmaps.extend(windows.map(|encoding| Charmap::new(Kind::Windows, |byte| one(encoding, byte))));
    charmaps.push(Charmap::new(Kind::Latin2, |byte| one(ISO_8859_2, byte)));
    charmaps.push(Charmap::new(Kind::Macintosh, |byte| one(MACINTOSH, byte)));
    let upper: Vec<char> = CODE_PAGE_437.chars().chain(['\u{A0}']).collect();
    charmaps.push(Charmap::new(Kind::Pc, |byte| {
        usize::from(byte).checked_sub(128).map_or(char::from(byte), |index| upper[index])
    }));
    charmaps
});

/// The character of one byte; a byte without one is taken as ISO 8859-1.
fn one(encoding: &'static Encoding, byte: u8) -> char {
    let bytes = [byte];
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes).unwrap_or_default();
    text.chars().next().unwrap_or(char::from(byte))
}

impl Charmap {
    fn new(kind: Kind, character: impl Fn(u8) -> char) -> Self {
        let mut bytes: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (character(byte), byte)).collect();
        if kind == Kind::Windows {
            bytes.remove(&char::from(LOST));
            bytes.insert(char::REPLACEMENT_CHARACTER, LOST);
        }
        Self { bytes, kind }
    }

    /// The bytes that read as `text`, if it can be written at all.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        text.chars().map(|c| self.bytes.get(&c).copied()).collect()
    }
}

/// What Windows-1252 makes of a byte; its holes as in ISO 8859-1.
pub(super) fn windows_1252(byte: u8) -> char {
    one(WINDOWS_1252, byte)
}

/// C1 control characters are Windows-1252 that was taken for ISO 8859-1, as browsers know.
pub(super) fn without_c1(c: char) -> char {
    match u8::try_from(c) {
        Ok(byte @ 0x80..=0x9F) => windows_1252(byte),
        _ => c,
    }
}

/// The text as it was meant, as far as that can be told.
pub(super) fn repair(text: &str) -> String {
    repair_nested(text, DEPTH)
}

fn repair_nested(text: &str, depth: usize) -> String {
    let mut text = text.to_owned();
    for _ in 0..LAYERS {
        match repair_once(&text, depth) {
            Some(better) if better != text => text = better,
            _ => break,
        }
    }
    text
}

/// Takes off one layer of damage.
fn repair_once(text: &str, depth: usize) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    let whole = CHARMAPS.iter().find_map(|charmap| as_utf8(charmap.encode(text)?, charmap.kind));
    if whole.is_some() {
        return whole;
    }
    let better = repair_parts(text, depth);
    if better != text {
        return Some(better);
    }
    Some(text.chars().map(without_c1).collect())
}

/// Reads bytes as UTF-8, after repairing what commonly happens to it on the way.
fn as_utf8(mut bytes: Vec<u8>, kind: Kind) -> Option<String> {
    // In the Macintosh's encoding this would take a dash and a space for a letter.
    if kind != Kind::Macintosh {
        bytes = restore_spaces(&bytes);
    }
    if kind == Kind::Windows {
        bytes = substitute(&bytes, LOSSY, |_| char::REPLACEMENT_CHARACTER.to_string().into_bytes());
    }
    // Java's zero, and characters beyond the basic plane written as two surrogates of three bytes each (CESU-8).
    bytes = substitute(&bytes, &[&[&[0xC0..=0xC0], &[0x80..=0x80]]], |_| vec![0]);
    bytes = substitute(&bytes, &[SURROGATES], |pair| {
        let bits = |index: usize, mask: u8| u32::from(pair[index] & mask);
        let code = 0x1_0000 + (bits(1, 0x0F) << 16) + (bits(2, 0x3F) << 10) + (bits(4, 0x0F) << 6) + bits(5, 0x3F);
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).to_string().into_bytes()
    });
    String::from_utf8(bytes).ok()
}

/// One byte of a pattern: any of these ranges.
type ByteSet = &'static [std::ops::RangeInclusive<u8>];

/// A continuation byte of UTF-8.
const NEXT: ByteSet = &[0x80..=0xBF];
/// The same, but for 0x85 and 0xA0, which pass for an ellipsis and a space.
const NEXT_NO_SPACE: ByteSet = &[0x80..=0x84, 0x86..=0x9F, 0xA1..=0xBF];
const SPACE_BYTE: ByteSet = &[0x20..=0x20];
const GONE: ByteSet = &[LOST..=LOST];
const GONE_OR_ASKED: ByteSet = &[LOST..=LOST, b'?'..=b'?'];
const GONE_OR_NEXT: ByteSet = &[LOST..=LOST, 0x80..=0xBF];
const ANY_OF_THEM: ByteSet = &[LOST..=LOST, b'?'..=b'?', 0x80..=0xBF];
const LEAD_2: ByteSet = &[0xC2..=0xDF];
const LEAD_3: ByteSet = &[0xE0..=0xEF];
const LEAD_4: ByteSet = &[0xF0..=0xF4];
const SURROGATE: ByteSet = &[0xED..=0xED];
const HIGH: ByteSet = &[0xA0..=0xAF];
const LOW: ByteSet = &[0xB0..=0xBF];
const EMOJI: ByteSet = &[0xF0..=0xF0];

const SURROGATES: &[ByteSet] = &[SURROGATE, HIGH, NEXT, SURROGATE, LOW, NEXT];

/// UTF-8 whose byte 0xA0 became a space, where the character that it then was is a likely one.
const SPACED: &[&[ByteSet]] = &[
    &[&[0xC2..=0xC3, 0xC5..=0xC5, 0xCE..=0xCE, 0xD0..=0xD0, 0xD9..=0xD9], SPACE_BYTE],
    &[&[0xE2..=0xE3], SPACE_BYTE, NEXT_NO_SPACE],
    &[&[0xE0..=0xE3], NEXT_NO_SPACE, SPACE_BYTE],
    &[EMOJI, SPACE_BYTE, NEXT, NEXT],
    &[EMOJI, NEXT, SPACE_BYTE, NEXT],
    &[EMOJI, NEXT, NEXT, SPACE_BYTE],
];

/// UTF-8 of which bytes were lost, or (one at most) replaced by a question mark.
const LOSSY: &[&[ByteSet]] = &[
    &[LEAD_2, GONE],
    &[&[0xC2..=0xC3], &[b'?'..=b'?']],
    &[SURROGATE, HIGH, GONE_OR_ASKED, SURROGATE, LOW, ANY_OF_THEM],
    &[SURROGATE, HIGH, ANY_OF_THEM, SURROGATE, LOW, GONE_OR_ASKED],
    &[LEAD_3, GONE_OR_ASKED, GONE_OR_NEXT],
    &[LEAD_3, GONE_OR_NEXT, GONE_OR_ASKED],
    &[LEAD_4, GONE_OR_ASKED, GONE_OR_NEXT, GONE_OR_NEXT],
    &[LEAD_4, GONE_OR_NEXT, GONE_OR_ASKED, GONE_OR_NEXT],
    &[LEAD_4, GONE_OR_NEXT, GONE_OR_NEXT, GONE_OR_ASKED],
    &[GONE],
];

/// The length of the first of `patterns` that `bytes` begin with.
fn begins(bytes: &[u8], patterns: &[&[ByteSet]]) -> Option<usize> {
    let fits = |pattern: &&&[ByteSet]| {
        bytes.len() >= pattern.len()
            && pattern.iter().zip(bytes).all(|(set, byte)| set.iter().any(|range| range.contains(byte)))
    };
    patterns.iter().find(fits).map(|pattern| pattern.len())
}

/// Replaces what matches, from the left, without overlaps.
fn substitute(bytes: &[u8], patterns: &[&[ByteSet]], by: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match begins(rest, patterns) {
            Some(length) => {
                let (matched, after) = rest.split_at(length);
                out.extend(by(matched));
                rest = after;
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

/// Makes spaces inside UTF-8 the 0xA0 that they were. A lone "Ã " is the word "à" and keeps its space, except where
/// Portuguese joins it to the next word (às, àquele, àquela, àquilo).
fn restore_spaces(bytes: &[u8]) -> Vec<u8> {
    let mut words = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let joined = |behind: &[u8]| {
            [&b" "[..], b"quele", b"quela", b"quilo", b"s "].iter().any(|start| behind.starts_with(start))
        };
        match rest.strip_prefix(b"\xC3 ") {
            Some(behind) if !joined(behind) => {
                words.extend(b"\xC3\xA0 ");
                rest = behind;
            }
            _ => {
                words.push(first);
                rest = after;
            }
        }
    }
    substitute(&words, SPACED, |matched| matched.iter().map(|&byte| if byte == b' ' { 0xA0 } else { byte }).collect())
}

/// What a character may be in UTF-8 that was read in an encoding like ISO 8859-1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Clue {
    /// The bytes of the sequence that it begins: 2 to 4, or 0.
    leads: usize,
    /// It may be a continuation byte.
    follows: bool,
    /// It may be one, and hardly stands for itself beside damage.
    follows_surely: bool,
}

static CLUES: LazyLock<HashMap<char, Clue>> = LazyLock::new(|| {
    // Marks that stand for themselves in any text.
    let ordinary = ['–', '—', '―', '‘', '’', '‚', '“', '”', '„', '•', '…'];
    let mut clues: HashMap<char, Clue> = HashMap::new();
    for charmap in CHARMAPS.iter().filter(|charmap| !matches!(charmap.kind, Kind::Macintosh | Kind::Pc)) {
        for (&c, &byte) in &charmap.bytes {
            let clue = clues.entry(c).or_default();
            match byte {
                0x80..=0xBF => {
                    clue.follows = true;
                    clue.follows_surely = !ordinary.contains(&c);
                }
                0xC2..=0xDF => clue.leads = 2,
                0xE0..=0xEF => clue.leads = 3,
                // Other leads stand for characters that are not assigned.
                0xF0 | 0xF3 => clue.leads = 4,
                _ => {}
            }
        }
    }
    // A space may have been 0xA0.
    clues.entry(' ').or_default().follows = true;
    clues
});

/// Repairs, each alone, the stretches that look like UTF-8.
fn repair_parts(text: &str, depth: usize) -> String {
    if depth == 0 {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let clue = |index: usize| chars.get(index).and_then(|c| CLUES.get(c)).copied().unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut start = 0;
    while start < chars.len() {
        let mut end = start;
        // Not in the middle of a greater garble: fixing a few characters of it makes it worse.
        if start == 0 || !clue(start - 1).follows_surely {
            loop {
                let leads = clue(end).leads;
                if leads == 0 || !(end + 1..end + leads).all(|index| clue(index).follows) {
                    break;
                }
                end += leads;
            }
        }
        if end == start {
            out.push(chars[start]);
            start += 1;
            continue;
        }
        let part: String = chars[start..end].iter().collect();
        if end - start < chars.len() && is_bad(&part) {
            out.push_str(&repair_nested(&part, depth - 1));
        } else {
            out.push_str(&part);
        }
        start = end;
    }
    out
}

/// The kinds of characters that damaged text is made of; a character may be of several.
type Kinds = u32;

const COMMON: Kinds = 1;
const C1: Kinds = 1 << 1;
const BAD: Kinds = 1 << 2;
const LAW: Kinds = 1 << 3;
const CURRENCY: Kinds = 1 << 4;
const OPENING: Kinds = 1 << 5;
const CLOSING: Kinds = 1 << 6;
const NUMERIC: Kinds = 1 << 7;
/// Used to draw faces, so seen in odd company.
const FACE: Kinds = 1 << 8;
const UPPER_ACCENTED: Kinds = 1 << 9;
const LOWER_ACCENTED: Kinds = 1 << 10;
/// Letters that may end a word, before whatever follows it.
const UPPER_COMMON: Kinds = 1 << 11;
const LOWER_COMMON: Kinds = 1 << 12;
const BOX: Kinds = 1 << 13;
/// White space.
const SPACE: Kinds = 1 << 14;
/// Letters, digits and the underscore.
const WORD: Kinds = 1 << 15;
/// a to z.
const SMALL: Kinds = 1 << 16;
/// A to Z.
const LARGE: Kinds = 1 << 17;
/// Anything but those two.
const OTHER: Kinds = 1 << 18;
const ANY: Kinds = Kinds::MAX;

const ACCENTED: Kinds = UPPER_ACCENTED | LOWER_ACCENTED;
const QUOTES: Kinds = OPENING | CLOSING;

#[rustfmt::skip]
fn listed_kinds(c: char) -> Kinds {
    match c {
        '\u{80}'..='\u{9F}' => C1,
        '\u{A0}' | '\u{AD}' | '\u{B4}' | '·' | '–'..='―' | '’' | '…' => COMMON,
        '¡' | '©' | '«' | '¿' | '΄' | '΅' | '‘' | '‚' | '“' | '„' | '•' | '‹' | '\u{F8FF}' => OPENING,
        '¢' | '£' | '¥' | '₧' | '€' => CURRENCY,
        '¤' | '¦' | '\u{A8}' | 'ª' | '¬' | '\u{AF}' | '\u{B8}' | 'º' | 'ƒ' | '\u{2C6}' | '\u{2C7}' | '\u{2D8}' | '\u{2DB}' | '\u{2DC}' | '†' | '‡' | '‰' | '⌐' | '◊' | '\u{FFFD}' => BAD,
        '§' | '¶' => LAW,
        '®' | '»' | '\u{2DD}' | '”' | '›' | '™' => CLOSING,
        '°' | 'Ò'..='Ö' | 'Ù'..='Û' | 'ò'..='ö' | 'ø'..='û' | 'Ō' | 'Ő' | 'Ū' | 'Ų' => FACE,
        '±'..='³' | 'µ' | '¹' | '¼'..='¾' | '×' | '÷' | '⁄' | '№' | '∂' | '∆' | '∏' | '∑' | '√' | '∞' | '∩' | '∫' | '≈' | '≠' | '≡' | '≤' | '≥' => NUMERIC,
        'À'..='Ñ' | 'Ø' | 'Ý' | 'Ā' | 'Ă' | 'Ą' | 'Ć' | 'Č' | 'Ď' | 'Đ' | 'Ē' | 'Ė' | 'Ę' | 'Ě' | 'Ğ' | 'Ģ' | 'Ī' | 'İ' | 'Ķ' | 'Ĺ' | 'Ļ' | 'Ľ' | 'Ł' | 'Ń' | 'Ņ' | 'Ň' | 'Œ' | 'Ř' | 'Ś' | 'Ş' | 'Š' | 'Ţ' | 'Ť' | 'Ů' | 'Ű' | 'Ÿ' | 'Ź' | 'Ż' | 'Ž' | 'Ґ' => UPPER_ACCENTED,
        'Ü' => FACE | UPPER_ACCENTED,
        'Þ' | 'Ά' | 'Έ'..='Ί' | 'Ό' | 'Ύ' | 'Ώ' | 'Α'..='Ϋ' | 'Ё'..='Я' => UPPER_COMMON,
        'ß'..='ñ' | 'ā' | 'ă' | 'ą' | 'ć' | 'č' | 'ď' | 'đ' | 'ē' | 'ė' | 'ę' | 'ě' | 'ğ' | 'ģ' | 'ī' | 'į' | 'ķ' | 'ĺ' | 'ļ' | 'ľ' | 'ł' | 'œ' | 'ŕ' | 'ś' | 'ş' | 'š' | 'ť' | 'ź' | 'ż' | 'ž' | 'ґ' | '\u{FB01}' | '\u{FB02}' => LOWER_ACCENTED,
        'ü' => FACE | LOWER_ACCENTED,
        'ά'..='ω' | 'а'..='џ' => LOWER_COMMON,
        '│' | '┌' | '┐' | '┘' | '├' | '┤' | '┬' | '┼' | '═'..='╬' | '▀' | '▄' | '█' | '▌' | '▐'..='▓' => BOX,
        _ => 0,
    }
}

fn kinds(c: char) -> Kinds {
    let mut kinds = listed_kinds(c);
    if c.is_whitespace() || ('\x1C'..='\x1F').contains(&c) {
        kinds |= SPACE;
    }
    if c == '_' || c.is_alphanumeric() {
        kinds |= WORD;
    }
    kinds
        | if c.is_ascii_lowercase() {
            SMALL
        } else if c.is_ascii_uppercase() {
            LARGE
        } else {
            OTHER
        }
}

/// One place of a rule: these kinds, or one of these characters.
#[derive(Clone, Copy, Debug)]
struct Place(Kinds, &'static str);

impl Place {
    fn takes(self, c: char, kinds: Kinds) -> bool {
        kinds & self.0 != 0 || self.1.contains(c)
    }
}

const SYMBOLS: Kinds = ACCENTED | BOX | QUOTES | CURRENCY | NUMERIC | LAW;
const ARABIC_LEAD: Place = Place(0, "ØÙ");
const ARABIC_NEXT: Place = Place(COMMON | CURRENCY | BAD | NUMERIC | OPENING, "ŸŠ®°µ»");
const CYRILLIC_LEAD: Place = Place(0, "ВГРС");
const GREEK_LEAD: Place = Place(0, "ΒΓΞΟ");

/// Sequences that hardly occur on purpose.
const RULES: &[&[Place]] = &[
    &[Place(C1, "")],
    &[Place(BAD | SYMBOLS, ""), Place(BAD, "")],
    &[Place(BAD, ""), Place(SYMBOLS, "")],
    &[Place(SMALL | LARGE, ""), Place(LOWER_COMMON | UPPER_COMMON, ""), Place(BAD, "")],
    &[Place(LOWER_ACCENTED | LOWER_COMMON | BOX | CLOSING | CURRENCY | NUMERIC, ""), Place(UPPER_ACCENTED, "")],
    &[Place(BOX | CLOSING | CURRENCY | NUMERIC, ""), Place(LOWER_ACCENTED, "")],
    &[Place(LOWER_ACCENTED | BOX | CLOSING, ""), Place(CURRENCY, "")],
    &[Place(SPACE, ""), Place(UPPER_ACCENTED, ""), Place(CURRENCY, "")],
    &[Place(UPPER_ACCENTED | BOX, ""), Place(NUMERIC | LAW, "")],
    &[Place(ACCENTED | BOX | CURRENCY | CLOSING, ""), Place(OPENING, ""), Place(NUMERIC, "")],
    &[Place(ACCENTED | CURRENCY | NUMERIC | BOX | LAW, ""), Place(CLOSING, ""), Place(OPENING, "")],
    &[Place(CURRENCY | NUMERIC | BOX, ""), Place(OPENING, "")],
    &[Place(SMALL, ""), Place(UPPER_ACCENTED, ""), Place(OPENING | CURRENCY, "")],
    &[Place(BOX, ""), Place(FACE, "")],
    &[Place(ACCENTED | CURRENCY | NUMERIC | QUOTES | LAW, ""), Place(BOX, "")],
    &[Place(BOX, ""), Place(CLOSING, "")],
    &[Place(ACCENTED, ""), Place(QUOTES, ""), Place(WORD, "")],
    // The ligature, unless an English or French word goes on behind it.
    &[Place(0, "Œœ"), Place(OTHER, "")],
    &[Place(UPPER_ACCENTED, ""), Place(0, "°")],
    // Windows-1252: pairs, a product sign, Arabic, the scripts of South Asia, and "à" and "á" themselves.
    &[Place(0, "ÂÃÎÐ"), Place(QUOTES, "€œŠš¢£Ÿž\u{A0}\u{AD}®©°·»–—\u{B4}")],
    &[Place(0, "×"), Place(0, "²³")],
    &[ARABIC_LEAD, ARABIC_NEXT, ARABIC_LEAD, ARABIC_NEXT],
    &[Place(0, "à"), Place(0, "²µ¹¼½¾")],
    &[Place(0, "Ã"), Place(0, "\u{A0}¡")],
    &[Place(SMALL, ""), Place(0, "ÃÂ"), Place(0, " ")],
    &[Place(SMALL, ""), Place(SPACE, ""), Place(0, "ÃÂ"), Place(0, " ")],
    &[Place(SMALL | CLOSING, ".,?!"), Place(0, "Â"), Place(QUOTES, " ")],
    // The Macintosh.
    &[Place(0, "√"), Place(0, "±∂†≠®™\u{B4}≤≥¥µø")],
    &[Place(0, "≈"), Place(0, "°¢")],
    &[Place(0, "‚"), Place(0, "Ä"), Place(0, "ìîïòôúùû†°¢π")],
    &[Place(0, "‚"), Place(0, "âó"), Place(0, "àä°ê")],
    // Windows-1251.
    &[Place(0, "в"), Place(0, "Ђ")],
    &[CYRILLIC_LEAD, Place(C1 | BAD | QUOTES | CURRENCY, "°µ"), CYRILLIC_LEAD],
    &[
        Place(0, "Г"),
        Place(0, "ў"),
        Place(0, "В"),
        Place(0, "Ђ"),
        Place(0, "В"),
        Place(ANY, ""),
        Place(SMALL | LARGE, " "),
    ],
    // Windows-1253 and 1257.
    &[Place(0, "β"), Place(0, "€"), Place(0, "™\u{A0}Ά\u{AD}®°")],
    &[GREEK_LEAD, Place(C1 | BAD | QUOTES | CURRENCY, "°"), GREEK_LEAD],
    &[Place(0, "ā"), Place(0, "€")],
];

/// The same, at the very beginning of a text.
const FIRST_RULES: &[&[Place]] = &[&[Place(0, "ÃÂ"), Place(0, " ")]];

/// Whether the text holds a sequence that hardly occurs on purpose.
fn is_bad(text: &str) -> bool {
    let chars: Vec<(char, Kinds)> = text.chars().map(|c| (c, kinds(c))).collect();
    let fits = |start: usize, rule: &&&[Place]| {
        let window = &chars[start..];
        window.len() >= rule.len() && rule.iter().zip(window).all(|(place, &(c, kinds))| place.takes(c, kinds))
    };
    FIRST_RULES.iter().any(|rule| fits(0, &rule))
        || (0..chars.len()).any(|start| RULES.iter().any(|rule| fits(start, &rule)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_is_undone() {
        // Each was written in UTF-8 and read in one encoding, from the first that is tried to the last.
        for (damaged, meant) in [
            ("Ã©tÃ© â\u{80}\u{93} â\u{80}\u{9C}xâ\u{80}\u{9D}", "été – “x”"),
            ("Ã©tÃ© â€“ ok", "été – ok"),
            ("РїСЂРёС‘Рј вЂ“ РґР°", "приём – да"),
            ("Ä‡ma Ĺşle", "ćma źle"),
            ("Ξ±Ξ²Ξ³Ξ΄ β€“ ok", "αβγδ – ok"),
            ("ÅŸÃ¶yle â€“ ok", "şöyle – ok"),
            ("Å¾Ä…sis ā€“ ok", "žąsis – ok"),
            ("Ä\u{87}ma Ĺşle", "ćma źle"),
            ("√© caf√© ‚Äì ok", "é café – ok"),
            ("├⌐t├⌐", "été"),
        ] {
            assert_eq!(repair(damaged), meant, "{damaged}");
        }
    }

    #[test]
    fn two_layers_come_off() {
        assert_eq!(repair("Ã\u{83}Â©tÃ\u{83}Â©"), "été");
    }

    #[test]
    fn a_part_is_repaired_alone() {
        assert_eq!(repair("日本 cafÃ© 日本"), "日本 café 日本");
    }

    #[test]
    fn lost_bytes_and_lost_spaces_are_seen() {
        assert_eq!(repair("â€œquotedâ€\u{FFFD}"), "“quoted\u{FFFD}");
        assert_eq!(repair("voilÃ  le travail"), "voilà le travail");
        assert_eq!(repair("Ã la mode"), "à la mode");
    }

    #[test]
    fn ordinary_text_is_left() {
        for text in ["", "plain", "œuvre", "L’été, c’est « bien »", "ÅÄÖ", "Ελλάδα", "Россия", "5 € – 10 £", "(╯°□°)"]
        {
            assert_eq!(repair(text), text);
        }
    }
}
