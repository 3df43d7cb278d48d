//! Reads robots.txt (RFC 9309) and X-Robots-Tag: what a site asks of crawlers.
//!
//! Of a robots.txt only the rules for us are kept: those of all groups that name our product token, else those of
//! the groups for `*`. The longest rule that matches a path decides, and allow wins ties. At most [`MAX_BYTES`] are
//! read, which the RFC permits; the line that is cut there is left out. Matching is O(path x rules).

/// How much of a robots.txt is read (RFC 9309, section 2.5, asks for no less).
pub(super) const MAX_BYTES: usize = 500 << 10;

/// What a site's robots.txt says to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Robots {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// As written, for evidence.
    written: String,
    /// Normalised; `*` stands for any bytes.
    pattern: Vec<u8>,
    /// Whether the pattern must reach the path's end.
    anchored: bool,
}

impl Robots {
    /// The rules for `token` in `text`.
    pub(super) fn parse(text: &[u8], token: &str) -> Self {
        let mut named = Vec::new();
        let mut general = Vec::new();
        let mut is_named = false;
        // Which groups the lines belong to; a user-agent line after a rule opens a new group.
        let (mut for_us, mut for_all, mut in_rules) = (false, false, false);
        let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n' || byte == b'\r').collect();
        if text.len() >= MAX_BYTES {
            lines.pop();
        }
        // Some files begin with a byte order mark.
        if let Some(first) = lines.first_mut() {
            *first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        }
        for line in lines {
            let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (key, value) = line.split_at(colon);
            let key = key.trim_ascii().to_ascii_lowercase();
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            match key.as_slice() {
                b"user-agent" => {
                    if in_rules {
                        (for_us, for_all, in_rules) = (false, false, false);
                    }
                    let value = String::from_utf8_lossy(value);
                    for_all |= value.starts_with('*');
                    if product_token(&value).eq_ignore_ascii_case(token) && !token.is_empty() {
                        (for_us, is_named) = (true, true);
                    }
                }
                b"allow" | b"disallow" => {
                    in_rules = true;
                    // An empty rule matches nothing.
                    if value.is_empty() {
                        continue;
                    }
                    let rule = Rule::of(key == b"allow", value);
                    if for_us {
                        named.push(rule.clone());
                    }
                    if for_all {
                        general.push(rule);
                    }
                }
                _ => {}
            }
        }
        Self { rules: if is_named { named } else { general } }
    }

    /// The rule that forbids `path`, which is a URL's path with its query; none where it is allowed.
    pub(super) fn forbids(&self, path: &str) -> Option<String> {
        if path == "/robots.txt" {
            return None;
        }
        let path = normalised(path.as_bytes());
        let longest = self
            .rules
            .iter()
            .filter(|rule| rule.matches(&path))
            .max_by_key(|rule| (rule.pattern.len() + usize::from(rule.anchored), rule.allow))?;
        (!longest.allow).then(|| format!("Disallow: {}", longest.written))
    }
}

impl Rule {
    fn of(allow: bool, value: &[u8]) -> Self {
        let anchored = value.ends_with(b"$");
        let body = value.strip_suffix(b"$").unwrap_or(value);
        let written = String::from_utf8_lossy(value).chars().take(200).collect();
        Self { allow, written, pattern: normalised(body), anchored }
    }

    /// Finds the pieces between asterisks one after the other, each as early as it goes.
    fn matches(&self, path: &[u8]) -> bool {
        let mut pieces = self.pattern.split(|&byte| byte == b'*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let mut pieces = pieces.peekable();
        if pieces.peek().is_none() {
            return !self.anchored || rest.is_empty();
        }
        while let Some(piece) = pieces.next() {
            if self.anchored && pieces.peek().is_none() {
                return rest.ends_with(piece);
            }
            let Some(at) = find(rest, piece) else { return false };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        true
    }
}

fn find(bytes: &[u8], piece: &[u8]) -> Option<usize> {
    if piece.is_empty() { Some(0) } else { bytes.windows(piece.len()).position(|window| window == piece) }
}

/// One form for all spellings of a path: unreserved characters bare, others as they are, escapes in capitals.
fn normalised(path: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        let escaped = match (byte, after) {
            (b'%', [high, low, behind @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| {
                rest = behind;
                high * 16 + low
            }),
            _ => None,
        };
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => normal.push(byte),
            Some(byte) => push_escape(&mut normal, byte),
            None if byte.is_ascii() => normal.push(*byte),
            None => push_escape(&mut normal, *byte),
        }
    }
    normal
}

fn push_escape(normal: &mut Vec<u8>, byte: u8) {
    normal.extend_from_slice(format!("%{byte:02X}").as_bytes());
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The letters, hyphens and underscores that `text` begins with: how robots.txt names a crawler.
pub(super) fn product_token(text: &str) -> &str {
    let is_token = |c: char| c.is_ascii_alphabetic() || c == '-' || c == '_';
    text.split(|c| !is_token(c)).next().unwrap_or_default()
}

/// The first of `words` that one X-Robots-Tag value, or the content of a robots meta element, says to us.
///
/// A name before a colon speaks to one crawler, and goes on to speak to it up to the value's end.
pub(super) fn wish<'w>(value: &str, token: &str, words: &'w [String]) -> Option<&'w str> {
    let mut is_for_us = true;
    for element in value.split([',', ';']) {
        let mut said = element.trim();
        if let Some((name, after)) = said.split_once(':') {
            let name = name.trim();
            // `max-image-preview: large` and the like are wishes with a value, not crawlers' names.
            let is_wish = name.starts_with("max-") || name.eq_ignore_ascii_case("unavailable_after");
            let is_all = name.eq_ignore_ascii_case("robots") || name == "*";
            if !is_wish {
                is_for_us = is_all || name.eq_ignore_ascii_case(token);
                said = after.trim();
            }
        }
        if is_for_us && let Some(word) = words.iter().find(|word| said.eq_ignore_ascii_case(word)) {
            return Some(word);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbids(text: &str, path: &str) -> bool {
        Robots::parse(text.as_bytes(), "weft").forbids(path).is_some()
    }

    #[test]
    fn the_group_of_our_name_replaces_the_general_one() {
        let text = "User-agent: *\nDisallow: /\n\nUser-agent: other\nUser-agent: WEFT/2.0\nDisallow: /private\n";
        assert!(!forbids(text, "/picture.jpg"));
        assert!(forbids(text, "/private/picture.jpg"));
        let text = "user-agent: weft\nallow: /\nuser-agent: *\ndisallow: /\nuser-agent: weft\ndisallow: /b";
        assert!(!forbids(text, "/a"), "the groups of one name are one");
        assert!(forbids(text, "/b"));
        assert!(!forbids("user-agent: weft\nuser-agent: *\ndisallow:\n", "/a"), "an empty rule forbids nothing");
        assert!(!forbids("user-agent: weftbot\ndisallow: /\n", "/a"), "another name");
    }

    #[test]
    fn the_longest_rule_decides_and_allow_wins_ties() {
        let text = "User-agent: *\nAllow: /p\nDisallow: /\n";
        assert!(!forbids(text, "/page"));
        assert!(forbids(text, "/other"));
        assert!(!forbids("User-agent: *\nDisallow: /folder\nAllow: /folder\n", "/folder/page"));
        assert!(forbids("User-agent: *\nAllow: /page\nDisallow: /*.htm\n", "/page.htm"));
        assert!(!forbids("User-agent: *\nAllow: /page\nDisallow: /*.ph\n", "/other.html"));
    }

    #[test]
    fn asterisk_and_dollar_are_followed() {
        let text = "user-agent: *\ndisallow: /*.png$\ndisallow: /a*b*c\n";
        assert!(forbids(text, "/x/y.png"));
        assert!(!forbids(text, "/x/y.png?z"));
        assert!(forbids(text, "/a--b--c--"));
        assert!(!forbids(text, "/a--c--b"));
        assert!(forbids("user-agent: *\ndisallow: /*a*a$", "/aa"));
        assert!(!forbids("user-agent: *\ndisallow: /*a*a$", "/a"));
        assert!(forbids("user-agent: *\ndisallow: /exact$", "/exact"));
        assert!(!forbids("user-agent: *\ndisallow: /exact$", "/exactly"));
    }

    #[test]
    fn escapes_match_what_they_stand_for() {
        let text = "user-agent: *\ndisallow: /caf\u{e9}\ndisallow: /%7Ejoe\ndisallow: /a%3cd\n";
        assert!(forbids(text, "/caf%c3%A9/x"));
        assert!(forbids(text, "/~joe/"));
        assert!(forbids(text, "/a%3Cd"));
        assert!(!forbids(text, "/a<d"));
    }

    #[test]
    fn odd_files_are_read_as_far_as_they_go() {
        assert!(forbids("\u{feff}User-Agent : *\r\rDisallow : /x # not this\r\nnonsense\n", "/x"));
        assert!(!forbids("Disallow: /\n", "/x"), "a rule of no group");
        assert!(forbids("user-agent: *\nsitemap: /s\nuser-agent: other\ndisallow: /\n", "/x"), "one group, two names");
        assert!(!forbids("user-agent: *\ndisallow: /\n", "/robots.txt"));
        let mut long = b"user-agent: *\ndisallow: /x\n".to_vec();
        long.resize(MAX_BYTES - 12, b'\n');
        long.extend_from_slice(b"disallow: /p");
        assert_eq!(Robots::parse(&long, "weft").forbids("/page"), None, "a rule that is cut off is left out");
        assert!(Robots::parse(&long, "weft").forbids("/x").is_some());
    }

    #[test]
    fn a_wish_is_heard_where_it_speaks_to_us() {
        let words = ["noai".to_owned(), "noimageindex".to_owned()];
        let heard = |value| wish(value, "weft", &words);
        assert_eq!(heard("NOAI"), Some("noai"));
        assert_eq!(heard("follow, noimageindex"), Some("noimageindex"));
        assert_eq!(heard("weft: nofollow, noai"), Some("noai"));
        assert_eq!(heard("otherbot: nofollow, noai"), None);
        assert_eq!(heard("otherbot: nofollow, weft: noai"), Some("noai"));
        assert_eq!(heard("max-image-preview: large, noai"), Some("noai"));
        assert_eq!(heard("robots: noai"), Some("noai"));
        assert_eq!(heard("noaim, index"), None);
    }
}
