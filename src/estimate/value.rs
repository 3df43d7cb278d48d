//! Numbers with where they come from: a product is known no better than the worst of its factors.

use serde::Serialize;

/// How well a number is known, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// Counted: by a manifest, its lock file, or the files that they name.
    Manifest,
    /// By an earlier run.
    Measured,
    /// By somebody who counted something like it.
    Published,
    /// By nobody.
    Assumed,
}

impl Basis {
    /// One letter, for tables.
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Manifest => '=',
            Self::Measured => 'm',
            Self::Published => 'p',
            Self::Assumed => 'a',
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Measured => "measured",
            Self::Published => "published",
            Self::Assumed => "assumed",
        }
    }
}

/// A number and the worst of what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Value {
    pub(crate) amount: f64,
    pub(crate) basis: Basis,
}

impl Value {
    pub(crate) fn new(amount: f64, basis: Basis) -> Self {
        Self { amount, basis }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self::new(self.amount * other.amount, self.basis.max(other.basis))
    }

    /// A quotient; nothing where the divisor is 0.
    pub(crate) fn over(self, other: Self) -> Option<Self> {
        (other.amount > 0.0).then(|| Self::new(self.amount / other.amount, self.basis.max(other.basis)))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self::new(self.amount + other.amount, self.basis.max(other.basis))
    }
}

/// A product of which a factor may be unknown.
pub(crate) fn product(left: Option<Value>, right: Option<Value>) -> Option<Value> {
    Some(left?.times(right?))
}

/// A quotient of which a part may be unknown.
pub(crate) fn quotient(left: Option<Value>, right: Option<Value>) -> Option<Value> {
    left?.over(right?)
}

/// A count as a number to compute with.
#[expect(clippy::cast_precision_loss, reason = "an estimate; counts below 2^53 are exact")]
pub(crate) fn amount(count: u64) -> f64 {
    count as f64
}

/// One number that an estimate starts from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// None where nobody knows.
    pub(crate) value: Option<Value>,
    /// Who says so.
    pub(crate) from: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_known_no_better_than_its_worst_factor() {
        let counted = Value::new(6.0, Basis::Manifest);
        let guessed = Value::new(2.0, Basis::Assumed);
        assert_eq!(product(Some(counted), Some(guessed)), Some(Value::new(12.0, Basis::Assumed)));
        assert_eq!(quotient(Some(counted), Some(guessed)), Some(Value::new(3.0, Basis::Assumed)));
        assert_eq!(product(Some(counted), None), None);
        assert_eq!(quotient(Some(counted), Some(Value::new(0.0, Basis::Manifest))), None);
    }
}
