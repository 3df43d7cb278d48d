//! Lists the image references of an HTML page in document order, with the visible text before each.
//!
//! The page is parsed as by a browser without scripts, so what `noscript` holds is content. Every `src` of an
//! `img` is listed, and beside it what its `srcset` and lazy-loading attributes offer; `picture` sources and the
//! page's own `meta` images are listed too. [`UrlRule`] is MMC4's verdict on each URL (paper, section 3). The
//! page's wishes about indexing and mining come along as [`OptOut`]s, without judgement.
//!
//! Bounds: the nesting of elements, the number of references, and the memory, in proportion to the page; past
//! one it errors. Linear in the page but for the nesting, which html5ever searches at every tag.

mod blocks;
mod srcset;
mod tree;

use html5ever::{LocalName, local_name};
use url::Url;
use weft_core::limits::{LimitExceeded, Limits};

pub use self::blocks::Block;
use self::tree::{Element, Reading, Tree, Value};

/// Parts of a URL that mark it as furniture of the page, in any case (MMC4, section 3).
const KEYWORDS: [&str; 5] = ["logo", "button", "icon", "plugin", "widget"];

/// The image types that MMC4 takes (section 3).
const EXTENSIONS: [&str; 3] = [".jpg", ".jpeg", ".png"];

/// Attributes in which scripts keep the URL to load later.
const LAZY: [&str; 11] = [
    "data-src",
    "data-lazy-src",
    "data-lazy",
    "data-original",
    "data-orig-file",
    "data-large-file",
    "data-medium-file",
    "data-full-src",
    "data-fallback-src",
    "data-normal",
    "data-pin-media",
];

/// The same, for several URLs with descriptors.
const LAZY_SRCSET: [&str; 2] = ["data-srcset", "data-lazy-srcset"];

/// Names of `meta` elements whose content is an image's URL.
const META_IMAGES: [&str; 5] =
    ["og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src"];

/// Tokens that make a `meta` element an opt-out, whether its name is `robots` or one agent's.
const ROBOTS_TOKENS: [&str; 4] = ["noai", "noimageai", "noindex", "noimageindex"];

/// How far behind the last sentence found the next one is looked for, in bytes of text without whitespace. A
/// C4 document has at most 190,000 characters (`c4_utils.py`).
const SEARCH_BYTES: usize = 256 << 10;

/// Where the extension is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionRule {
    /// At the end of the whole URL, which mostly means that it has no query: MMC4's rule.
    WholeUrl,
    /// At the end of the path; a query may follow.
    Path,
}

/// MMC4's verdict on a URL: kept, or the first test that it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlRule {
    /// A candidate.
    Kept,
    /// Not http or https, or no URL at all.
    Scheme,
    /// Not a .jpg, .jpeg or .png.
    Extension,
    /// One of logo, button, icon, plugin, widget is in it.
    Keyword,
}

impl UrlRule {
    /// The verdict on a URL; `None` stands for what is no URL.
    #[must_use]
    pub fn of(url: Option<&Url>, extension: ExtensionRule) -> Self {
        let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else { return Self::Scheme };
        let whole = url.as_str().to_ascii_lowercase();
        let has_extension = match extension {
            ExtensionRule::WholeUrl => ends_with_extension(&whole),
            ExtensionRule::Path => ends_with_extension(&url.path().to_ascii_lowercase()),
        };
        if !has_extension {
            Self::Extension
        } else if KEYWORDS.iter().any(|keyword| whole.contains(keyword)) {
            Self::Keyword
        } else {
            Self::Kept
        }
    }

    /// The verdict's name in tables and probes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Scheme => "scheme",
            Self::Extension => "extension",
            Self::Keyword => "keyword",
        }
    }
}

fn ends_with_extension(lower_case: &str) -> bool {
    EXTENSIONS.iter().any(|extension| lower_case.ends_with(extension))
}

/// Which part of the page holds a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `src` of an `img`.
    Src,
    /// One candidate of the `srcset` of an `img`.
    Srcset,
    /// An attribute of an `img` that scripts load from, or one candidate of it.
    Lazy,
    /// One candidate of a `source` in a `picture`.
    Picture,
    /// A `meta` element or a `link` to the image that stands for the page.
    Meta,
}

impl Source {
    /// The source's name in tables and probes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Src => "src",
            Self::Srcset => "srcset",
            Self::Lazy => "lazy",
            Self::Picture => "picture",
            Self::Meta => "meta",
        }
    }
}

/// One reference to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// The absolute URL; `None` where `raw` makes none, and for `data:` URLs, which `raw` holds.
    pub url: Option<Url>,
    /// The reference as the page has it.
    pub raw: String,
    /// Where it stands.
    pub source: Source,
    /// The width or density descriptor of a `srcset` candidate, such as `680w` or `2x`.
    pub descriptor: Option<String>,
    /// Whether this is the candidate with the largest descriptor of its `srcset`, the first among equals.
    pub largest: bool,
    /// The `alt` attribute.
    pub alt: Option<String>,
    /// The `width` attribute, unparsed.
    pub width: Option<String>,
    /// The `height` attribute, unparsed.
    pub height: Option<String>,
    /// MMC4's verdict on the URL.
    pub rule: UrlRule,
    /// Number of `img` elements before the one that holds the reference.
    pub element_index: usize,
    /// Whether it stands in a `noscript`.
    pub noscript: bool,
    /// Whether it stands in a `template`, which a browser does not show.
    pub template: bool,
    /// Number of characters of [`PageImages::text`] before it.
    pub text_before_chars: usize,
}

/// A page's statement about its use by machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptOut {
    /// The `meta` element's name, in lower case: `robots`, an agent's name, `tdm-reservation`.
    pub name: String,
    /// The whole content.
    pub content: String,
}

/// What a page says about images.
#[derive(Clone, Debug)]
pub struct PageImages {
    /// What relative URLs are relative to.
    pub base_url: Url,
    /// In document order.
    pub references: Vec<ImageReference>,
    /// In document order.
    pub opt_outs: Vec<OptOut>,
    /// The visible text without any whitespace, so that it does not depend on which elements break lines.
    pub text: String,
}

impl PageImages {
    /// The distinct URLs that MMC4's rule keeps among those in `src`, by first occurrence.
    #[must_use]
    pub fn candidates(&self) -> Vec<&Url> {
        let mut seen = std::collections::HashSet::new();
        let of_src = self.references.iter().filter(|reference| reference.source == Source::Src);
        let kept = of_src.filter(|reference| reference.rule == UrlRule::Kept);
        kept.filter_map(|reference| reference.url.as_ref()).filter(|url| seen.insert(*url)).collect()
    }

    /// For each reference the index of the last of `sentences` that ends before it; `None` before the first.
    ///
    /// The sentences are looked for in order, without regard to whitespace, each within 262,144 bytes behind
    /// the one found before it; one that is not found there is passed over.
    #[must_use]
    pub fn positions(&self, sentences: &[&str]) -> Vec<Option<u32>> {
        // The ends of the sentences found, in characters, and their indices: both ascend.
        let mut found: Vec<(usize, u32)> = Vec::new();
        let (mut rest, mut chars_before) = (self.text.as_str(), 0);
        for (index, sentence) in (0_u32..).zip(sentences) {
            let wanted: String = sentence.split_whitespace().collect();
            let window_end = rest.floor_char_boundary(SEARCH_BYTES.saturating_add(wanted.len()));
            let window = rest.get(..window_end).expect("the end was rounded to a character");
            if wanted.is_empty() {
                continue;
            }
            let Some(at) = window.find(&wanted) else { continue };
            let (before, behind) = rest.split_at(at + wanted.len());
            chars_before += before.chars().count();
            rest = behind;
            found.push((chars_before, index));
        }
        let last_before = |reference: &ImageReference| {
            let count = found.partition_point(|(end, _)| *end <= reference.text_before_chars);
            count.checked_sub(1).map(|last| found[last].1)
        };
        self.references.iter().map(last_before).collect()
    }
}

/// Lists the images of the page `html`, which was fetched from `page_url`.
///
/// # Errors
/// [`LimitExceeded`] where the page nests or refers beyond `limits`, or needs memory out of proportion to it.
pub fn images(
    html: &str,
    page_url: &Url,
    limits: &Limits,
    extension: ExtensionRule,
) -> Result<PageImages, LimitExceeded> {
    let document = tree::parse(html, limits, Reading::Images)?;
    Ok(walk(&document, page_url, limits, extension, None)?.page)
}

/// As [`images`], and the blocks that the page's text consists of.
///
/// # Errors
/// As [`images`].
pub fn images_and_blocks(
    html: &str,
    page_url: &Url,
    limits: &Limits,
    extension: ExtensionRule,
) -> Result<(PageImages, Vec<Block>), LimitExceeded> {
    let document = tree::parse(html, limits, Reading::Whole)?;
    let reader = walk(&document, page_url, limits, extension, Some(blocks::Builder::default()))?;
    Ok((reader.page, reader.blocks.map(blocks::Builder::finish).unwrap_or_default()))
}

fn walk<'a>(
    document: &Tree,
    page_url: &Url,
    limits: &'a Limits,
    extension: ExtensionRule,
    blocks: Option<blocks::Builder>,
) -> Result<Reader<'a>, LimitExceeded> {
    let mut reader = Reader {
        limits,
        extension,
        page: PageImages {
            base_url: base_url(document, page_url),
            references: Vec::new(),
            opt_outs: Vec::new(),
            text: String::new(),
        },
        text_chars: 0,
        img_elements: 0,
        reference_bytes: 0,
        around: Around::default(),
        blocks,
    };
    let mut id = document.document();
    loop {
        let node = document.node(id);
        reader.open(&node.value)?;
        if let Some(child) = node.first_child {
            id = child;
            continue;
        }
        // Close this node, and all whose last child it is.
        loop {
            let node = document.node(id);
            reader.close(&node.value);
            if let Some(next) = node.next_sibling {
                id = next;
                break;
            }
            let Some(parent) = node.parent else { return Ok(reader) };
            id = parent;
        }
    }
}

/// The document base URL: the first `base` with an `href`, itself relative to the page's URL.
fn base_url(document: &Tree, page_url: &Url) -> Url {
    let mut next = document.has_base().then(|| document.document());
    while let Some(id) = next {
        if let Value::Element(element) = &document.node(id).value
            && *element.name() == local_name!("base")
            && let Some(href) = element.attr("href")
        {
            let base = page_url.join(href).ok();
            let usable = base.filter(|base| !matches!(base.scheme(), "data" | "javascript"));
            return usable.unwrap_or_else(|| page_url.clone());
        }
        next = document.behind(id);
    }
    page_url.clone()
}

/// How many elements of each sort are open around the current one.
#[derive(Default)]
struct Around {
    invisible: i32,
    noscript: i32,
    template: i32,
    picture: i32,
}

impl Around {
    fn count(&mut self, element: &Element, by: i32) {
        let name = element.name();
        if is_invisible(name) {
            self.invisible += by;
        }
        match *name {
            local_name!("noscript") => self.noscript += by,
            local_name!("template") => self.template += by,
            local_name!("picture") => self.picture += by,
            _ => {}
        }
    }
}

/// Whether an element's text is never shown.
fn is_invisible(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("head")
            | local_name!("script")
            | local_name!("style")
            | local_name!("template")
            | local_name!("iframe")
            | local_name!("noembed")
            | local_name!("noframes")
            | local_name!("textarea")
            | local_name!("select")
    )
}

/// Walks over the page's elements in document order.
struct Reader<'a> {
    limits: &'a Limits,
    extension: ExtensionRule,
    page: PageImages,
    text_chars: usize,
    img_elements: usize,
    /// Bytes of all references so far: an attribute can be copied, and a base prefixed, many times.
    reference_bytes: u64,
    around: Around,
    /// Where the page's blocks are wanted.
    blocks: Option<blocks::Builder>,
}

impl Reader<'_> {
    fn open(&mut self, value: &Value) -> Result<(), LimitExceeded> {
        match value {
            Value::Element(element) => {
                self.around.count(element, 1);
                if let Some(blocks) = &mut self.blocks {
                    blocks.open(element);
                }
                self.read(element)
            }
            Value::Text(text) if self.around.invisible == 0 => {
                if let Some(blocks) = &mut self.blocks {
                    blocks.text(text, self.text_chars);
                }
                self.push_text(text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, value: &Value) {
        if let Value::Element(element) = value {
            self.around.count(element, -1);
            if let Some(blocks) = &mut self.blocks {
                blocks.close(element);
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        for word in text.split_whitespace() {
            self.page.text.push_str(word);
            self.text_chars += word.chars().count();
        }
    }

    fn read(&mut self, element: &Element) -> Result<(), LimitExceeded> {
        match *element.name() {
            local_name!("img") => {
                self.read_img(element)?;
                self.img_elements += 1;
            }
            local_name!("source") if self.around.picture > 0 => {
                for attribute in ["srcset", "data-srcset"] {
                    self.add_candidates(element, attribute, Source::Picture)?;
                }
            }
            local_name!("meta") => self.read_meta(element)?,
            local_name!("link") => {
                let relations = element.attr("rel").unwrap_or_default();
                if relations.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("image_src")) {
                    self.add_attribute(element, "href", Source::Meta)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_img(&mut self, element: &Element) -> Result<(), LimitExceeded> {
        self.add_attribute(element, "src", Source::Src)?;
        self.add_candidates(element, "srcset", Source::Srcset)?;
        for attribute in LAZY {
            self.add_attribute(element, attribute, Source::Lazy)?;
        }
        for attribute in LAZY_SRCSET {
            self.add_candidates(element, attribute, Source::Lazy)?;
        }
        Ok(())
    }

    fn read_meta(&mut self, element: &Element) -> Result<(), LimitExceeded> {
        let name = element.attr("property").or_else(|| element.attr("name")).unwrap_or_default().trim();
        if META_IMAGES.iter().any(|image| name.eq_ignore_ascii_case(image)) {
            return self.add_attribute(element, "content", Source::Meta);
        }
        let name = element.attr("name").unwrap_or_default().trim().to_ascii_lowercase();
        let content = element.attr("content").unwrap_or_default();
        let mut tokens = content.split(',').map(str::trim);
        let opts_out = name == "tdm-reservation"
            || tokens.any(|token| ROBOTS_TOKENS.iter().any(|robots| token.eq_ignore_ascii_case(robots)));
        if opts_out && !name.is_empty() {
            self.page.opt_outs.push(OptOut { name, content: content.to_owned() });
        }
        Ok(())
    }

    fn add_attribute(&mut self, element: &Element, attribute: &str, source: Source) -> Result<(), LimitExceeded> {
        match element.attr(attribute) {
            Some(raw) => self.add(element, raw, source, None, false),
            None => Ok(()),
        }
    }

    fn add_candidates(&mut self, element: &Element, attribute: &str, source: Source) -> Result<(), LimitExceeded> {
        let candidates = srcset::candidates(element.attr(attribute).unwrap_or_default());
        let largest = srcset::largest(&candidates);
        for (index, candidate) in candidates.iter().enumerate() {
            self.add(element, candidate.url, source, candidate.descriptor, Some(index) == largest)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        element: &Element,
        raw: &str,
        source: Source,
        descriptor: Option<&str>,
        largest: bool,
    ) -> Result<(), LimitExceeded> {
        // An empty reference is none; a browser shows nothing for it.
        if raw.trim().is_empty() {
            return Ok(());
        }
        let page_images = u64::from(self.limits.page_images);
        if count(self.page.references.len()) >= page_images {
            return Err(LimitExceeded { what: "page_images", limit: page_images });
        }
        let is_data = raw.trim_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
        let url = if is_data { None } else { self.page.base_url.join(raw).ok() };
        let of_element = |attribute| element.attr(attribute).map(str::to_owned);
        let reference = ImageReference {
            rule: UrlRule::of(url.as_ref(), self.extension),
            url,
            raw: raw.to_owned(),
            source,
            descriptor: descriptor.map(str::to_owned),
            largest,
            alt: of_element("alt"),
            width: of_element("width"),
            height: of_element("height"),
            element_index: self.img_elements,
            noscript: self.around.noscript > 0,
            template: self.around.template > 0,
            text_before_chars: self.text_chars,
        };
        self.reference_bytes += bytes_of(&reference);
        if self.reference_bytes > self.limits.page_bytes.saturating_mul(2) {
            return Err(LimitExceeded { what: "page_bytes", limit: self.limits.page_bytes });
        }
        self.page.references.push(reference);
        Ok(())
    }
}

fn bytes_of(reference: &ImageReference) -> u64 {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let url = reference.url.as_ref().map_or(0, |url| url.as_str().len());
    let attributes = length(&reference.alt) + length(&reference.width) + length(&reference.height);
    count(url + attributes + reference.raw.len() + length(&reference.descriptor))
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("usize fits u64")
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
