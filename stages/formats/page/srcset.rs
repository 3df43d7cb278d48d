//! Parses `srcset` attributes (HTML standard, section 4.8.4.2.3).

/// One image candidate string: a URL and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) url: &'a str,
    pub(super) descriptor: Option<&'a str>,
}

/// The candidates of a `srcset` attribute in order. Descriptors are not judged.
pub(super) fn candidates(srcset: &str) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    let is_blank = |c: char| c.is_ascii_whitespace();
    let mut rest = srcset;
    loop {
        rest = rest.trim_start_matches(|c: char| is_blank(c) || c == ',');
        if rest.is_empty() {
            return candidates;
        }
        let (word, behind) = rest.split_at(rest.find(is_blank).unwrap_or(rest.len()));
        // A comma within a URL belongs to it; one at its end closes the candidate.
        let url = word.trim_end_matches(',');
        let descriptor = if url.len() < word.len() {
            rest = behind;
            ""
        } else {
            let (descriptor, behind) = behind.split_at(descriptor_length(behind));
            rest = behind;
            descriptor.trim_matches(is_blank)
        };
        candidates.push(Candidate { url, descriptor: (!descriptor.is_empty()).then_some(descriptor) });
    }
}

/// The length up to the comma that ends a candidate: commas in parentheses do not.
fn descriptor_length(text: &str) -> usize {
    let mut in_parentheses = false;
    for (at, character) in text.char_indices() {
        match character {
            '(' => in_parentheses = true,
            ')' => in_parentheses = false,
            ',' if !in_parentheses => return at,
            _ => {}
        }
    }
    text.len()
}

/// The candidate with the largest width, or density; none counts as `1x`. The first among equals.
pub(super) fn largest(candidates: &[Candidate<'_>]) -> Option<usize> {
    let mut largest = None;
    let mut best = f64::NEG_INFINITY;
    for (index, candidate) in candidates.iter().enumerate() {
        let descriptor = candidate.descriptor.unwrap_or("1x");
        let size = descriptor.strip_suffix(['w', 'x']).and_then(|number| number.parse().ok()).unwrap_or(0.0);
        if size > best {
            best = size;
            largest = Some(index);
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(srcset: &str) -> Vec<(&str, &str)> {
        candidates(srcset).into_iter().map(|c| (c.url, c.descriptor.unwrap_or_default())).collect()
    }

    #[test]
    fn commas_end_candidates_but_not_within_urls_or_parentheses() {
        assert_eq!(parsed(" a.jpg 1x ,b,c.jpg 2x"), [("a.jpg", "1x"), ("b,c.jpg", "2x")]);
        assert_eq!(parsed("a.jpg, b.jpg"), [("a.jpg", ""), ("b.jpg", "")]);
        assert_eq!(parsed("a.jpg f(1,2) 3w, b.jpg 4w"), [("a.jpg", "f(1,2) 3w"), ("b.jpg", "4w")]);
        assert_eq!(parsed(" , ,"), []);
    }

    #[test]
    fn the_largest_descriptor_wins_and_the_first_among_equals() {
        assert_eq!(largest(&candidates("a 680w, b 1680w, c 1680w")), Some(1));
        assert_eq!(largest(&candidates("a, b 2x")), Some(1));
        assert_eq!(largest(&candidates("")), None);
    }
}
