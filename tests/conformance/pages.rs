//! Image references of saved pages, as html5lib and the URL standard have them.

use serde_json::{Value, json};

use super::{Agreement, list, probe, text, topic};

#[test]
fn pages_give_the_images_that_html5lib_gives() {
    let Some((folder, expected)) = topic("html") else { return };
    let mut agreement = Agreement::new("html");
    for page in list(&expected, "pages") {
        let file = text(page, "file");
        let probed = probe(&folder, &["page", file, "--url", text(page, "url")], "");
        assert_eq!((probed.code, probed.found.len()), (Some(0), 1), "{file}: {:?}{}", probed.troubles, probed.err);
        let ours = &probed.found[0];
        agreement.compare("encodings", file, &ours["encoding"], &page["encoding"]);
        agreement.compare("base URLs", file, &ours["base_url"], &page["base_url"]);

        let imgs = list(page, "imgs");
        let with_src = imgs.iter().filter(|img| !img["url"].is_null());
        agreement.compare("lists of src", file, &of_source(ours, "src"), &with_src.map(element).collect());
        agreement.compare("lists of distinct URLs", file, &distinct(ours, |_| true), &page["img_src_urls"]);
        let kept = distinct(ours, |image| has_extension_in_path(text(image, "url")));
        agreement.compare("lists by extension in the path", file, &kept, &page["mmc4_style"]);
        compare_rules(&mut agreement, file, ours);

        let srcset = imgs.iter().flat_map(|img| srcset_of(&img["srcset"])).collect();
        agreement.compare("lists of srcset", file, &urls(ours, "srcset"), &srcset);
        let picture = list(page, "picture_sources").iter().flat_map(|source| srcset_of(&source["srcset"])).collect();
        agreement.compare("lists of picture", file, &urls(ours, "picture"), &picture);
        let meta = list(page, "meta_images").iter().map(|meta| meta["url"].clone()).collect();
        agreement.compare("lists of meta", file, &urls(ours, "meta"), &meta);
        let lazy = imgs.iter().flat_map(lazy_of).collect();
        agreement.compare("lists of lazy", file, &web_urls(urls(ours, "lazy")), &web_urls(lazy));
    }
    agreement.finish();
}

/// An `img` as the reference tells it, which leaves empty attributes out and cuts an `alt` at 200 characters.
fn element(img: &Value) -> Value {
    let cut = |value: &Value| value.as_str().map(|value| value.chars().take(200).collect::<String>());
    let not_empty = |field: &str| cut(&img[field]).filter(|value| !value.is_empty());
    json!({"url": img["url"], "alt": not_empty("alt"), "width": not_empty("width"), "height": not_empty("height")})
}

fn images<'a>(page: &'a Value, source: &'a str) -> impl Iterator<Item = &'a Value> {
    list(page, "images").iter().filter(move |image| image["source"] == source)
}

fn of_source(page: &Value, source: &str) -> Value {
    images(page, source).map(element).collect()
}

fn urls(page: &Value, source: &str) -> Value {
    images(page, source).map(|image| image["url"].clone()).collect()
}

/// The distinct web URLs of `src` that are `wanted`, by first occurrence.
pub(super) fn distinct(page: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for image in images(page, "src").filter(|image| wanted(image)) {
        if text(image, "url").starts_with("http") && !seen.contains(&image["url"]) {
            seen.push(image["url"].clone());
        }
    }
    Value::Array(seen)
}

const KEYWORDS: [&str; 5] = ["logo", "button", "icon", "plugin", "widget"];

fn ends_as_image(text: &str) -> bool {
    [".jpg", ".jpeg", ".png"].iter().any(|extension| text.ends_with(extension))
}

/// The rule of this topic, which is laxer than MMC4's: a query may follow the extension.
fn has_extension_in_path(url: &str) -> bool {
    let url = url.to_lowercase();
    let path = url.split(['?', '#']).next().unwrap();
    ends_as_image(path) && !KEYWORDS.iter().any(|keyword| url.contains(keyword))
}

/// MMC4's rule, stated again over the URLs that the references agree on.
fn compare_rules(agreement: &mut Agreement, file: &str, page: &Value) {
    for image in images(page, "src") {
        let url = text(image, "url").to_lowercase();
        let rule = if !url.starts_with("http:") && !url.starts_with("https:") {
            "scheme"
        } else if !ends_as_image(&url) {
            "extension"
        } else if KEYWORDS.iter().any(|keyword| url.contains(keyword)) {
            "keyword"
        } else {
            "kept"
        };
        agreement.compare("rules", &format!("{file}, {url}"), &image["rule"], &rule.into());
    }
}

fn srcset_of(srcset: &Value) -> Vec<Value> {
    let candidates = srcset.as_array().into_iter().flatten();
    // Those of lazy attributes are given without descriptors.
    candidates
        .map(|candidate| if candidate.is_string() { candidate.clone() } else { candidate["url"].clone() })
        .collect()
}

/// The attributes from which scripts load an image; the reference lists every `data-` attribute with a URL in it.
fn lazy_of(img: &Value) -> Vec<Value> {
    let no_image = ["data-permalink", "data-interchange", "data-original-mos"];
    let attributes = img["lazy"].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let of_images = attributes.filter(|(name, _)| !no_image.contains(&name.as_str()));
    of_images.flat_map(|(_, value)| if value.is_array() { srcset_of(value) } else { vec![value.clone()] }).collect()
}

/// In the order of the alphabet and without pictures in the page itself, which the reference leaves out.
fn web_urls(list: Value) -> Value {
    let Value::Array(mut list) = list else { panic!("no list: {list}") };
    list.retain(|url| !url.as_str().unwrap().starts_with("data:"));
    list.sort_by_key(|value| value.as_str().unwrap().to_owned());
    Value::Array(list)
}
