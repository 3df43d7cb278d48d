//! Counts up hosts and pages so that their urlkeys ascend.
//!
//! A host's label and a page's slug begin with a counter in syllables of one length ([`syllables`]), so that one key
//! is never a prefix of a sibling's and what follows the counter may be anything. Hosts come in few-paged crowds and
//! a few giants, as they do on the web.

use weft_tinyweb::Rng;

/// Where hosts are registered, as the index writes it, ascending, and how many of 1,000 lines each takes.
pub(crate) const SUFFIXES: [(&str, u32); 15] = [
    ("example,at", 10),
    ("example,br", 25),
    ("example,ca", 20),
    ("example,ch", 10),
    ("example,com", 520),
    ("example,de", 60),
    ("example,edu", 30),
    ("example,fr", 35),
    ("example,it", 30),
    ("example,net", 50),
    ("invalid,org", 90),
    ("invalid,pl", 20),
    ("test,ru", 40),
    ("test,uk", 50),
    ("test,us", 10),
];

const CONSONANTS: [u8; 16] = *b"bcdfghjklmnprstv";
const VOWELS: [u8; 4] = *b"aeio";

const WORDS: [&str; 24] = [
    "anchor", "bridge", "candle", "dinner", "engine", "forest", "garden", "harbor", "island", "journey", "kettle",
    "lantern", "meadow", "notebook", "orchard", "pepper", "quarry", "river", "summer", "ticket", "umbrella", "village",
    "winter", "yarn",
];

/// A generator for the `number`th of something, whatever was drawn for others.
pub(crate) fn drawn(seed: u64, what: u64, number: u64) -> Rng {
    // Twice through the generator: its states are an arithmetic progression, and so are the numbers.
    let what = Rng::new(seed ^ (what << 56)).bits();
    Rng::new(Rng::new(what.wrapping_add(number.wrapping_mul(0xD134_2543_DE82_EF95))).bits())
}

/// `number` in `count` syllables of 64; as texts they ascend with the numbers.
pub(crate) fn syllables(number: u64, count: u32) -> String {
    assert!(number < 1 << (6 * count), "{number} does not fit {count} syllables");
    let mut text = String::new();
    for at in (0..count).rev() {
        let syllable = usize::try_from(number >> (6 * at) & 63).expect("below 64");
        text.push(char::from(CONSONANTS[syllable / 4]));
        text.push(char::from(VOWELS[syllable % 4]));
    }
    text
}

/// A site.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// What its keys begin with, the closing bracket included.
    pub(crate) key: String,
    /// Name without `www.`.
    pub(crate) name: String,
    /// `:8080`, or nothing.
    pub(crate) port: &'static str,
    /// Whether its pages are under `www.`.
    pub(crate) is_www: bool,
    /// Whether its pages are under https.
    pub(crate) is_https: bool,
    /// How many urlkeys it has.
    pub(crate) pages: u32,
    has_robots: bool,
}

impl Host {
    /// The `number`th host, under `suffix`.
    pub(crate) fn new(seed: u64, number: u64, suffix: &str) -> Self {
        let mut rng = drawn(seed, 1, number);
        let label = syllables(number, 5);
        let sub = if rng.chance(10) { *rng.pick(&["blog", "en", "m", "shop"]) } else { "" };
        let port = if rng.chance(1) { ":8080" } else { "" };
        let reversed: Vec<&str> = suffix.rsplit(',').collect();
        let registered = format!("{label}.{}", reversed.join("."));
        let (key, name) = match sub {
            "" => (format!("{suffix},{label}{port})"), registered),
            sub => (format!("{suffix},{label},{sub}{port})"), format!("{sub}.{registered}")),
        };
        let pages = match rng.below(1_000) {
            0..500 => rng.between(1, 3),
            500..850 => rng.between(4, 30),
            850..990 => rng.between(31, 200),
            _ => rng.between(201, 4_000),
        };
        let has_robots = pages > 1 && rng.chance(30);
        Self { key, name, port, is_www: rng.chance(60), is_https: rng.chance(70), pages, has_robots }
    }

    /// The `number`th of its pages; keys ascend with the numbers.
    pub(crate) fn page(&self, seed: u64, host_number: u64, number: u32) -> Page {
        if number == 0 {
            return Page { urlkey: format!("{}/", self.key), path: "/".to_owned(), is_robots: false };
        }
        if self.has_robots && number + 1 == self.pages {
            return Page {
                urlkey: format!("{}/robots.txt", self.key),
                path: "/robots.txt".to_owned(),
                is_robots: true,
            };
        }
        // `archive` < `blog` < `robots.txt`.
        let section = if number < self.pages / 3 { "archive" } else { "blog" };
        let slug = format!("/{section}/{}", syllables(u64::from(number), 3));
        let mut rng = drawn(seed, 2, host_number << 16 | u64::from(number));
        let (first, second) = (*rng.pick(&WORDS), *rng.pick(&WORDS));
        let id = rng.below(100_000);
        let (key_path, path) = match rng.below(12) {
            0 => (format!("{slug}.html"), format!("{slug}.html")),
            1 => (format!("{slug}/{id}"), format!("{slug}/{id}")),
            // Keys list parameters in order.
            2 => (format!("{slug}?id={id}&page=2"), format!("{slug}?page=2&id={id}")),
            3 => (format!("{slug}?{first}={id}"), format!("{slug}?{first}={id}")),
            // Keys are in lower case.
            4 => (format!("{slug}-{first}"), format!("{slug}-{}", first.to_ascii_uppercase())),
            // Keys end in no slash.
            5 => (format!("{slug}/{first}"), format!("{slug}/{first}/")),
            6 => (format!("{slug}-{first}%20{second}"), format!("{slug}-{first}%20{second}")),
            7 | 8 => (format!("{slug}-{first}-and-{second}.html"), format!("{slug}-{first}-and-{second}.html")),
            _ => (format!("{slug}-{first}-{second}"), format!("{slug}-{first}-{second}")),
        };
        Page { urlkey: format!("{}{key_path}", self.key), path, is_robots: false }
    }

    /// A URL of this host.
    pub(crate) fn url(&self, path: &str, is_https: bool, is_www: bool) -> String {
        let scheme = if is_https { "https" } else { "http" };
        let www = if is_www { "www." } else { "" };
        format!("{scheme}://{www}{}{}{path}", self.name, self.port)
    }
}

/// What one urlkey stands for.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) urlkey: String,
    /// As URLs have it.
    pub(crate) path: String,
    pub(crate) is_robots: bool,
}

/// All urlkeys in order: the index's, without end.
#[derive(Debug)]
pub(crate) struct Pages {
    seed: u64,
    host: Host,
    host_number: u64,
    /// Of the next page.
    number: u32,
}

impl Pages {
    /// Stands before the first page.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, host: Host::new(seed, 0, suffix_at(0)), host_number: 0, number: 0 }
    }

    /// The next page and its host; `per_mille` says how much of the index is written, which chooses the suffix.
    pub(crate) fn next(&mut self, per_mille: u32) -> (&Host, Page) {
        if self.number == self.host.pages {
            self.host_number += 1;
            self.number = 0;
            self.host = Host::new(self.seed, self.host_number, suffix_at(per_mille));
        }
        let page = self.host.page(self.seed, self.host_number, self.number);
        self.number += 1;
        (&self.host, page)
    }
}

fn suffix_at(per_mille: u32) -> &'static str {
    let mut left = per_mille;
    for (suffix, share) in SUFFIXES {
        if left < share {
            return suffix;
        }
        left -= share;
    }
    SUFFIXES[SUFFIXES.len() - 1].0
}

#[cfg(test)]
mod tests {
    use weft_stages::formats::surt::urlkey;

    use super::*;

    #[test]
    fn suffixes_ascend_and_share_the_whole() {
        assert!(SUFFIXES.windows(2).all(|pair| format!("{},", pair[0].0) < format!("{},", pair[1].0)));
        assert_eq!(SUFFIXES.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
    }

    #[test]
    fn syllables_ascend() {
        let texts: Vec<String> = (0..10_000).map(|number| syllables(number, 3)).collect();
        assert!(texts.is_sorted() && texts.iter().all(|text| text.len() == 6));
    }

    #[test]
    fn keys_ascend_and_are_those_of_the_urls() {
        let mut pages = Pages::new(7);
        let mut last = String::new();
        for number in 0..20_000_u32 {
            let (host, page) = pages.next(number / 20);
            assert!(page.urlkey > last, "{} after {last}", page.urlkey);
            for (is_https, is_www) in [(false, false), (false, true), (true, false), (true, true)] {
                let url = host.url(&page.path, is_https, is_www);
                assert_eq!(urlkey(&url).as_deref(), Some(&*page.urlkey), "{url}");
            }
            last = page.urlkey;
        }
    }
}
