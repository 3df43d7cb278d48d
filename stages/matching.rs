//! Assigns images to sentences by similarity: MMC4's matching (paper, section 3) and the plain maximum.
//!
//! [`linear`] maximises the total similarity with at most one image per sentence, exactly, by shortest
//! augmenting paths on the rectangular matrix (Crouse 2016, DOI 10.1109/TAES.2016.140952), in `f64`. Equal
//! totals are broken as `scipy.optimize.linear_sum_assignment` breaks them, which visits columns in the same order.
//! O(n²m) time, n the smaller side, and O(nm) memory; no recursion.

use thiserror::Error;

/// A sentence's position in its document, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SentenceIndex(pub usize);

/// Why a matrix cannot be matched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SimilarityError {
    /// The values do not fill the matrix exactly.
    #[error("{values} values do not fill a matrix of {images} images and {sentences} sentences")]
    NotRectangular {
        /// Values given.
        values: usize,
        /// Rows of the matrix.
        images: usize,
        /// Columns of the matrix.
        sentences: usize,
    },
    /// There are images, and no sentence to assign them to.
    #[error("{images} images have no sentence to go to")]
    NoSentence {
        /// Rows of the matrix.
        images: usize,
    },
    /// A similarity is NaN or infinite.
    #[error("similarity of image {image} and sentence {sentence} is not finite")]
    NotFinite {
        /// The row.
        image: usize,
        /// The column.
        sentence: usize,
    },
}

/// A matrix of similarities, images × sentences, row by row; all values are finite.
#[derive(Clone, Copy, Debug)]
pub struct Similarity<'a> {
    values: &'a [f32],
    images: usize,
    sentences: usize,
}

impl<'a> Similarity<'a> {
    /// Takes `values` as `images` rows of `sentences` columns.
    ///
    /// # Errors
    /// [`SimilarityError`] where the values do not fill the matrix, are not finite, or leave images
    /// without any sentence.
    pub fn new(values: &'a [f32], images: usize, sentences: usize) -> Result<Self, SimilarityError> {
        if images.checked_mul(sentences) != Some(values.len()) {
            return Err(SimilarityError::NotRectangular { values: values.len(), images, sentences });
        }
        if images > 0 && sentences == 0 {
            return Err(SimilarityError::NoSentence { images });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(SimilarityError::NotFinite { image: at / sentences, sentence: at % sentences });
        }
        Ok(Self { values, images, sentences })
    }

    /// Number of images.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of sentences.
    #[must_use]
    pub fn sentences(&self) -> usize {
        self.sentences
    }

    /// The similarity of one image and one sentence.
    ///
    /// # Panics
    /// If either index is outside the matrix.
    #[must_use]
    pub fn at(&self, image: usize, sentence: SentenceIndex) -> f32 {
        self.row(image)[sentence.0]
    }

    fn row(&self, image: usize) -> &'a [f32] {
        &self.values[image * self.sentences..(image + 1) * self.sentences]
    }

    /// The sentence most similar to `image`; the lowest index among equals.
    fn best_sentence(&self, image: usize) -> SentenceIndex {
        let row = self.row(image);
        let mut best = 0;
        for (sentence, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = sentence;
            }
        }
        SentenceIndex(best)
    }
}

/// Assigns every image to its own most similar sentence, whatever the others do; one entry per image.
#[must_use]
pub fn max(similarity: &Similarity<'_>) -> Vec<SentenceIndex> {
    (0..similarity.images).map(|image| similarity.best_sentence(image)).collect()
}

/// Assigns images to sentences at the largest total similarity, at most one image per sentence; one entry
/// per image.
///
/// When images outnumber sentences, every sentence gets one image and the surplus take their own best
/// sentence (MMC4, section 3, footnote 11).
#[must_use]
pub fn linear(similarity: &Similarity<'_>) -> Vec<SentenceIndex> {
    let (images, sentences) = (similarity.images, similarity.sentences);
    // The solver wants no more rows than columns, so surplus images make the sentences its rows.
    if images <= sentences {
        let cost = similarity.values.iter().map(|value| -f64::from(*value)).collect();
        let sentence_of = solve(&Cost { values: cost, rows: images, columns: sentences });
        return sentence_of.into_iter().map(SentenceIndex).collect();
    }
    let mut cost = Vec::with_capacity(similarity.values.len());
    for sentence in 0..sentences {
        for image in 0..images {
            cost.push(-f64::from(similarity.at(image, SentenceIndex(sentence))));
        }
    }
    let image_of = solve(&Cost { values: cost, rows: sentences, columns: images });
    let mut assigned = max(similarity);
    for (sentence, image) in image_of.into_iter().enumerate() {
        assigned[image] = SentenceIndex(sentence);
    }
    assigned
}

/// Costs to minimise; rows are at most as many as columns.
struct Cost {
    values: Vec<f64>,
    rows: usize,
    columns: usize,
}

/// The dual variables and the partial assignment, which one more row enters with every path.
struct Solution {
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    row_of_column: Vec<Option<usize>>,
}

/// What the search for one path knows of each column; one for all paths, so that nothing is allocated anew.
struct Search {
    /// Cost of the cheapest path to the column; infinite once it is visited.
    path_cost: Vec<f64>,
    /// The row before the column on that path.
    row_before: Vec<usize>,
    /// The column's price; minus infinity once it is visited, so that no path to it is ever cheaper.
    open_price: Vec<f64>,
    /// Rows in the order of their visits.
    rows: Vec<usize>,
    /// Columns in the order of their visits and the costs of their paths: each leads to the row of the next visit.
    columns: Vec<(usize, f64)>,
}

/// The column of each row at the least total cost.
fn solve(cost: &Cost) -> Vec<usize> {
    let mut solution = Solution {
        row_price: vec![0.0; cost.rows],
        column_price: vec![0.0; cost.columns],
        row_of_column: vec![None; cost.columns],
    };
    let mut search = Search {
        path_cost: vec![0.0; cost.columns],
        row_before: vec![0; cost.columns],
        open_price: vec![0.0; cost.columns],
        rows: Vec::new(),
        columns: Vec::new(),
    };
    let mut column_of_row = vec![None; cost.rows];
    for row in 0..cost.rows {
        assign_row(cost, &mut solution, &mut search, &mut column_of_row, row);
    }
    column_of_row.into_iter().map(|column| column.expect("every row has been assigned")).collect()
}

/// Assigns `new_row` along the cheapest alternating path to a free column, and updates the prices.
fn assign_row(
    cost: &Cost,
    solution: &mut Solution,
    search: &mut Search,
    column_of_row: &mut [Option<usize>],
    new_row: usize,
) {
    search.path_cost.fill(f64::INFINITY);
    search.open_price.copy_from_slice(&solution.column_price);
    search.rows.clear();
    search.columns.clear();
    let mut row = new_row;
    let mut lowest = 0.0;
    let sink = loop {
        search.rows.push(row);
        let costs = &cost.values[row * cost.columns..(row + 1) * cost.columns];
        lowest = search.relax(costs, row, lowest, solution.row_price[row]);
        let column = search.nearest(lowest, &solution.row_of_column);
        search.columns.push((column, lowest));
        search.path_cost[column] = f64::INFINITY;
        search.open_price[column] = f64::NEG_INFINITY;
        match solution.row_of_column[column] {
            Some(owner) => row = owner,
            None => break column,
        }
    };

    solution.row_price[new_row] += lowest;
    for (&row, &(_, path_cost)) in search.rows.iter().skip(1).zip(&search.columns) {
        solution.row_price[row] += lowest - path_cost;
    }
    for &(column, path_cost) in &search.columns {
        solution.column_price[column] -= lowest - path_cost;
    }

    // Each row on the path gives its column to the row behind it and takes the one ahead.
    let mut column = sink;
    loop {
        let row = search.row_before[column];
        solution.row_of_column[column] = Some(row);
        match column_of_row[row].replace(column) {
            Some(given_up) => column = given_up,
            None => break,
        }
    }
}

/// Columns that are compared at a time, in vector registers.
const LANES: usize = 4;

impl Search {
    /// Notes for each column whether the path through `row`, which costs `reached` up to there, is cheaper: the
    /// least cost of any path to a column not visited.
    fn relax(&mut self, costs: &[f64], row: usize, reached: f64, row_price: f64) -> f64 {
        // The order of the operations is SciPy's: it decides the last bit, and with it what is a tie.
        let through = |cost: f64, price: f64| reached + cost - row_price - price;
        let mut lowest = [f64::INFINITY; LANES];
        let (costs, last_costs) = costs.as_chunks::<LANES>();
        let (prices, last_prices) = self.open_price.as_chunks::<LANES>();
        let (paths, last_paths) = self.path_cost.as_chunks_mut::<LANES>();
        let (befores, last_befores) = self.row_before.as_chunks_mut::<LANES>();
        for (((costs, prices), paths), befores) in costs.iter().zip(prices).zip(paths).zip(befores) {
            let through: [f64; LANES] = std::array::from_fn(|lane| through(costs[lane], prices[lane]));
            for lane in 0..LANES {
                // A mask instead of a choice: the compiler makes no branch of it, and so uses vector registers.
                let cheaper = 0_usize.wrapping_sub(usize::from(through[lane] < paths[lane]));
                befores[lane] = (row & cheaper) | (befores[lane] & !cheaper);
            }
            *paths = std::array::from_fn(|lane| if through[lane] < paths[lane] { through[lane] } else { paths[lane] });
            lowest = std::array::from_fn(|lane| if paths[lane] < lowest[lane] { paths[lane] } else { lowest[lane] });
        }
        let mut lowest = lowest.into_iter().fold(f64::INFINITY, f64::min);
        for (((cost, price), path), before) in last_costs.iter().zip(last_prices).zip(last_paths).zip(last_befores) {
            let through = through(*cost, *price);
            if through < *path {
                *path = through;
                *before = row;
            }
            lowest = lowest.min(*path);
        }
        lowest
    }

    /// The column to visit next, among those whose paths cost `lowest`.
    #[expect(clippy::float_cmp, reason = "the lowest is one of the costs, and ties are exact ones")]
    fn nearest(&self, lowest: f64, row_of_column: &[Option<usize>]) -> usize {
        let ties = self.path_cost.iter().filter(|cost| **cost == lowest).count();
        let first = self.path_cost.iter().position(|cost| *cost == lowest);
        let first = first.expect("costs are finite and a free column remains");
        if ties == 1 {
            return first;
        }
        // As SciPy has it: a free column ends the path, the last of them in its order; else the first column in it.
        let equals: Vec<usize> =
            self.open_columns().into_iter().filter(|column| self.path_cost[*column] == lowest).collect();
        let last_free = equals.iter().rev().find(|column| row_of_column[**column].is_none());
        last_free.or(equals.first()).copied().unwrap_or(first)
    }

    /// The columns not yet visited in `SciPy`'s order: from the last to the first, where the last in the list takes
    /// the place of each that was visited.
    fn open_columns(&self) -> Vec<usize> {
        let count = self.path_cost.len();
        let mut open: Vec<usize> = (0..count).rev().collect();
        let mut place_of = open.clone();
        for &(column, _) in &self.columns {
            let place = place_of[column];
            open.swap_remove(place);
            if let Some(moved) = open.get(place) {
                place_of[*moved] = place;
            }
        }
        open
    }
}

#[cfg(test)]
mod plain;

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(assigned: Vec<SentenceIndex>) -> Vec<usize> {
        assigned.into_iter().map(|sentence| sentence.0).collect()
    }

    fn linear_of<const S: usize>(rows: &[[f32; S]]) -> Vec<usize> {
        sentences(linear(&Similarity::new(rows.as_flattened(), rows.len(), S).unwrap()))
    }

    /// A linear congruential generator: the tests need arbitrary numbers, the same on every run.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((self.0 >> 33) % u64::try_from(bound).unwrap()).unwrap()
        }
    }

    #[test]
    fn the_optimum_beats_the_maximum_and_the_greedy_choice() {
        // Both images are most similar to sentence 0; greedy gives 0 -> 0 and 1 -> 2.
        let rows = [[0.365_877, 0.181_522, 0.316_004, 0.271_299], [0.363_983, 0.155_436, 0.306_775, 0.267_637]];
        assert_eq!(linear_of(&rows), [2, 0]);
        let rows = [[0.243_634, 0.317_588, 0.276_942], [0.223_311, 0.323_492, 0.261_188]];
        assert_eq!(linear_of(&rows), [2, 1]);
    }

    #[test]
    fn surplus_image_takes_its_best_sentence() {
        assert_eq!(linear_of(&[[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), [1, 0, 1]);
        assert_eq!(linear_of(&[[0.5, 0.5], [0.9, 0.0], [0.0, 0.9]]), [0, 0, 1]);
    }

    #[test]
    fn equal_similarities_fill_the_sentences_in_order() {
        assert_eq!(linear_of(&[[0.5; 5]; 3]), [0, 1, 2]);
        assert_eq!(sentences(max(&Similarity::new(&[0.5; 6], 2, 3).unwrap())), [0, 0]);
    }

    #[test]
    fn no_images_are_no_assignments() {
        assert_eq!(linear(&Similarity::new(&[], 0, 4).unwrap()), []);
        assert_eq!(linear(&Similarity::new(&[], 0, 0).unwrap()), []);
    }

    #[test]
    fn what_is_no_matrix_of_finite_numbers_is_refused() {
        assert_eq!(
            Similarity::new(&[0.0; 5], 2, 3).unwrap_err().to_string(),
            "5 values do not fill a matrix of 2 images and 3 sentences"
        );
        assert_eq!(
            Similarity::new(&[0.0, 0.0, 0.0, f32::NAN], 2, 2).unwrap_err(),
            SimilarityError::NotFinite { image: 1, sentence: 1 }
        );
        assert_eq!(Similarity::new(&[], 3, 0).unwrap_err(), SimilarityError::NoSentence { images: 3 });
    }

    /// The largest total over all ways to give the rows distinct columns.
    fn brute_force(rows: &[Vec<f64>], row: usize, taken: u32) -> f64 {
        let Some(values) = rows.get(row) else { return 0.0 };
        let mut best = f64::NEG_INFINITY;
        for (column, value) in values.iter().enumerate() {
            if taken & (1 << column) == 0 {
                best = best.max(value + brute_force(rows, row + 1, taken | (1 << column)));
            }
        }
        best
    }

    #[test]
    fn the_total_is_that_of_an_exhaustive_search() {
        let mut numbers = Numbers(7);
        for case in 0..1_500 {
            let (images, columns) = (1 + numbers.below(7), 1 + numbers.below(7));
            // Few distinct values make many ties.
            let steps = if case % 2 == 0 { 4 } else { 1_000 };
            let values: Vec<f32> = (0..images * columns)
                .map(|_| f32::from(u16::try_from(numbers.below(steps)).unwrap()) / 1_000.0)
                .collect();
            let similarity = Similarity::new(&values, images, columns).unwrap();
            let assigned = linear(&similarity);

            let value = |image: usize, sentence: usize| f64::from(similarity.at(image, SentenceIndex(sentence)));
            let expected = if images <= columns {
                let rows: Vec<Vec<f64>> =
                    (0..images).map(|image| (0..columns).map(|s| value(image, s)).collect()).collect();
                assert_eq!(assigned.iter().collect::<std::collections::BTreeSet<_>>().len(), images);
                brute_force(&rows, 0, 0)
            } else {
                // The images that are not surplus are an optimal choice; which ones is not told apart here,
                // so the best total over the choices that agree with the assignment is compared.
                let rows: Vec<Vec<f64>> =
                    (0..columns).map(|s| (0..images).map(|image| value(image, s)).collect()).collect();
                let mut own: Vec<f64> = vec![f64::NEG_INFINITY; columns];
                for (image, sentence) in assigned.iter().enumerate() {
                    own[sentence.0] = own[sentence.0].max(value(image, sentence.0));
                }
                let total: f64 = own.iter().sum();
                assert!((total - brute_force(&rows, 0, 0)).abs() < 1e-9, "case {case}");
                continue;
            };
            let total: f64 = assigned.iter().enumerate().map(|(image, s)| value(image, s.0)).sum();
            assert!((total - expected).abs() < 1e-9, "case {case}: {total} is not {expected}");
        }
    }

    #[test]
    fn columns_are_those_of_the_plain_solver_also_where_costs_tie() {
        let mut numbers = Numbers(11);
        for case in 0..600 {
            let rows = 1 + numbers.below(24);
            let columns = rows + numbers.below(30);
            let steps = [2, 5, 30, 100_000][case % 4];
            let values = (0..rows * columns).map(|_| -f64::from(u32::try_from(numbers.below(steps)).unwrap()) / 64.0);
            let cost = Cost { values: values.collect(), rows, columns };
            assert_eq!(solve(&cost), plain::solve(&cost), "case {case}");
        }
    }

    #[test]
    fn a_long_alternating_path_needs_no_stack() {
        // Every row but the first prefers the column before its own.
        let side = 600;
        let mut values = vec![0.0_f32; side * side];
        for row in 0..side {
            values[row * side + row] = 0.5;
            if row > 0 {
                values[row * side + row - 1] = 0.6;
            }
        }
        let similarity = Similarity::new(&values, side, side).unwrap();
        let assigned = linear(&similarity);
        let total: f64 = assigned.iter().enumerate().map(|(image, s)| f64::from(similarity.at(image, *s))).sum();
        // The first row gives its column up, and all others gain.
        assert!((total - f64::from(0.6_f32) * 599.0).abs() < 1e-3, "{total}");
    }

    #[test]
    fn mmc4s_own_matchings_are_reproduced() {
        let Some(root) = std::env::var_os("WEFT_CONFORMANCE") else {
            println!("SKIPPED: WEFT_CONFORMANCE is not set");
            return;
        };
        let path = std::path::Path::new(&root).join("c4/expected.json");
        #[expect(clippy::disallowed_methods, reason = "a test reads its data from where they lie")]
        let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let cases = expected["matching"]["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let rows: Vec<Vec<f32>> = serde_json::from_value(case["similarity_matrix"].clone()).unwrap();
            let wanted: Vec<usize> = serde_json::from_value(case["assignment"].clone()).unwrap();
            let columns = rows.first().map_or(0, Vec::len);
            let similarity = rows.concat();
            let similarity = Similarity::new(&similarity, rows.len(), columns).unwrap();
            assert_eq!(sentences(linear(&similarity)), wanted, "{}", case["name"]);
        }
    }
}
