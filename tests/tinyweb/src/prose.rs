//! The sentences that describe no picture.
//!
//! Each has five words or more, one full stop, at its end, and names neither colour nor figure. No sentence
//! ends in a word that a splitter takes for an abbreviation.

pub(crate) const FILLERS: [&str; 40] = [
    "The weather report promised a mild week for the whole valley.",
    "Most visitors arrive by the early train and leave before dinner.",
    "Nobody in the village remembers who built the old bridge.",
    "A short walk after lunch is enough to see the main street.",
    "The bakery opens at six and sells out by nine.",
    "We kept a small notebook and wrote down every idea.",
    "Bring a warm coat if you plan to stay until evening.",
    "The museum keeps its best pieces in a room without windows.",
    "Local guides know several routes that no map mentions.",
    "It took us three attempts to find the right door.",
    "Prices have hardly changed during the last few years.",
    "My neighbour collects train tickets from all over the continent.",
    "The library closes for two weeks every August.",
    "Good planning saves more time than a faster car.",
    "Children under twelve may enter without paying anything.",
    "The next issue of this newsletter appears in the spring.",
    "Every member of the club brings something to eat.",
    "Their first album was recorded in a kitchen.",
    "The committee will meet again after the summer break.",
    "Please read the instructions carefully before you begin.",
    "An old friend taught me how to repair a bicycle.",
    "The recipe needs nothing but flour, water, salt and patience.",
    "Several readers wrote to us about the missing chapter.",
    "The festival moved to a larger hall last year.",
    "Most of the houses here are older than the railway.",
    "Our teacher used to say that practice beats talent.",
    "The path follows the river for almost an hour.",
    "You should reserve a table well in advance.",
    "The orchestra played the final movement much too quickly.",
    "Fresh vegetables are sold from the back of a van.",
    "The harbour was rebuilt after the great storm.",
    "A good dictionary belongs on every desk.",
    "The engine started at the second attempt.",
    "Many of these stories were first told by sailors.",
    "The school bus stops right outside the post office.",
    "Winter came early and stayed longer than expected.",
    "The volunteers repainted the fence in a single afternoon.",
    "Nothing on the menu costs more than a cinema ticket.",
    "The lake freezes only once in ten years.",
    "All of the furniture was made by a local carpenter.",
];

/// Words that only windows-1252 among the encodings used here has.
pub(crate) const WESTERN: &str = "The café on the corner charges €5 for a “very small” cup of tea.";
pub(crate) const JAPANESE: &str = "The sign over the door reads 青い海 in tall letters.";
pub(crate) const CHINESE: &str = "The sign over the door reads 蓝色的大海 in tall letters.";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fillers_differ_and_pass_the_line_rules_of_c4() {
        assert_eq!(BTreeSet::from(FILLERS).len(), FILLERS.len());
        for filler in FILLERS {
            assert!(filler.split(' ').count() >= 5 && filler.find('.') == Some(filler.len() - 1), "{filler}");
        }
    }
}
