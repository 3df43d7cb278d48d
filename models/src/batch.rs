//! Cuts work into the calls that a graph takes.

/// The rows of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// Any number up to this.
    UpTo(usize),
    /// This number and no other.
    Exactly(usize),
}

impl Batch {
    /// Of an input whose first dimension is `declared`; `most` where that is free.
    pub(crate) fn of(declared: Option<usize>, most: usize) -> Self {
        declared.map_or(Self::UpTo(most), Self::Exactly)
    }

    /// The most rows of one call; at least one, so that a graph fixed to none says so itself.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::UpTo(rows) | Self::Exactly(rows) => rows.max(1),
        }
    }

    /// The values of one call; where the number of rows is fixed, the last row is repeated up to it.
    pub(crate) fn fill<T: Copy>(self, mut values: Vec<T>, width: usize) -> Vec<T> {
        if let Self::Exactly(rows) = self {
            let last = values.len().saturating_sub(width)..values.len();
            while !last.is_empty() && values.len() < rows.saturating_mul(width) {
                values.extend_from_within(last.clone());
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_batch_is_filled_with_repeats() {
        assert_eq!(Batch::of(Some(3), 16).fill(vec![1, 2, 3, 4], 2), [1, 2, 3, 4, 3, 4]);
        assert_eq!(Batch::of(None, 16).fill(vec![1, 2], 2), [1, 2]);
        assert!(Batch::Exactly(3).fill(Vec::<f32>::new(), 2).is_empty());
    }
}
