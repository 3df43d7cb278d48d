//! Cuts a page's visible text into blocks, as a reader of the page sees them, with what their classification needs.
//!
//! A block is what stands between two borders of block-level elements; two line breaks in a row part blocks too. What
//! is not shown (`hidden`, `display: none`), what is furniture by its own name (`nav`, `aside`, `dialog`, `menu`,
//! controls of forms, `noscript`, landmark roles; `header` and `footer` outside of `article` and `main`) makes no
//! block. A `form` does: whole pages stand in one.

use super::tree::Element;

/// Elements that stand within a line of text; every other is a border.
const INLINE: [&str; 52] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "blink", "br", "cite", "code", "data", "del", "dfn", "em",
    "font", "i", "img", "ins", "kbd", "map", "mark", "meta", "nobr", "output", "picture", "q", "rp", "rt", "ruby", "s",
    "samp", "small", "source", "span", "strike", "strong", "sub", "sup", "svg", "time", "tt", "u", "var", "wbr",
    "link", "math", "object", "input", "script", "style", "template",
];
/// Elements that are furniture wherever they stand.
const FURNITURE: [&str; 9] = ["nav", "aside", "dialog", "menu", "button", "label", "legend", "noscript", "datalist"];
/// Roles that are furniture (WAI-ARIA 1.2, landmarks and menus).
const FURNITURE_ROLES: [&str; 9] =
    ["navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "dialog", "alertdialog"];

/// A stretch of the page's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Its words with single spaces between them, and a line feed for each `br`.
    pub text: String,
    /// Its words.
    pub words: u32,
    /// Its words inside of links.
    pub link_words: u32,
    /// Number of characters of [`PageImages::text`](super::PageImages::text) before it; its own follow without a gap.
    pub text_before_chars: usize,
}

/// Collects blocks while the page is walked over.
#[derive(Debug, Default)]
pub(super) struct Builder {
    blocks: Vec<Block>,
    current: Block,
    /// Whether whitespace was seen since the last word.
    is_parted: bool,
    /// Line breaks since the last word.
    breaks: u32,
    links: u32,
    /// Elements around the current one that hold no content.
    furniture: u32,
    /// `article` and `main` elements around the current one.
    articles: u32,
}

impl Builder {
    pub(super) fn open(&mut self, element: &Element) {
        let name = element.name();
        if self.is_furniture(element) {
            self.end_block();
            self.furniture += 1;
        } else if name == "br" {
            self.breaks += 1;
            if self.breaks > 1 {
                self.end_block();
            }
        } else if !INLINE.contains(&name) {
            self.end_block();
        }
        self.links += u32::from(name == "a");
        self.articles += u32::from(is_article(name));
    }

    pub(super) fn close(&mut self, element: &Element) {
        let name = element.name();
        // In the reverse order of `open`, so that the element is judged by the same state.
        self.articles -= u32::from(is_article(name));
        self.links -= u32::from(name == "a");
        if self.is_furniture(element) {
            self.end_block();
            self.furniture -= 1;
        } else if !INLINE.contains(&name) {
            self.end_block();
        }
    }

    /// Adds text that is visible; `chars_before` counts the page's characters before it, whitespace left out.
    pub(super) fn text(&mut self, text: &str, chars_before: usize) {
        if self.furniture > 0 {
            return;
        }
        let mut chars = chars_before;
        self.is_parted |= text.starts_with(char::is_whitespace);
        for word in text.split_whitespace() {
            let current = &mut self.current;
            let is_first = current.text.is_empty();
            if is_first {
                current.text_before_chars = chars;
            } else if self.breaks > 0 {
                current.text.push('\n');
            } else if self.is_parted {
                current.text.push(' ');
            }
            if is_first || self.breaks > 0 || self.is_parted {
                current.words += 1;
                current.link_words += u32::from(self.links > 0);
            }
            current.text.push_str(word);
            chars += word.chars().count();
            (self.breaks, self.is_parted) = (0, true);
        }
        // What follows the last word is a space only where the text has one.
        if text.ends_with(|c: char| !c.is_whitespace()) {
            self.is_parted = false;
        }
    }

    pub(super) fn finish(mut self) -> Vec<Block> {
        self.end_block();
        self.blocks
    }

    fn end_block(&mut self) {
        (self.breaks, self.is_parted) = (0, false);
        if !self.current.text.is_empty() {
            self.blocks.push(std::mem::take(&mut self.current));
        }
    }

    fn is_furniture(&self, element: &Element) -> bool {
        let name = element.name();
        if FURNITURE.contains(&name) || (matches!(name, "header" | "footer") && self.articles == 0) {
            return true;
        }
        let role = element.attr("role").unwrap_or_default().trim().to_ascii_lowercase();
        FURNITURE_ROLES.contains(&role.as_str()) || is_hidden(element)
    }
}

fn is_article(name: &str) -> bool {
    matches!(name, "article" | "main")
}

fn is_hidden(element: &Element) -> bool {
    if element.attr("hidden").is_some() || element.attr("aria-hidden").is_some_and(|value| value.trim() == "true") {
        return true;
    }
    let Some(style) = element.attr("style") else { return false };
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    style.contains("display:none") || style.contains("visibility:hidden")
}
