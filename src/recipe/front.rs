//! `[front]` of a crawl's manifest: what its server is asked at most. Alters the machine, never the data.

use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;
use weft_core::front::FrontBudget;

/// As typed; the defaults are [`FrontBudget`]'s: ten requests a second, eight at once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FrontSection {
    /// Requests begun a second.
    requests_per_second: Option<f64>,
    /// Requests under way at once.
    connections: Option<u32>,
    /// The wait after a first failure, which doubles from failure to failure.
    #[serde(default, with = "humantime_serde")]
    first_wait: Option<Duration>,
}

impl FrontSection {
    /// What it means.
    pub(super) fn budget(&self) -> anyhow::Result<FrontBudget> {
        let mut budget = FrontBudget::default();
        if let Some(rate) = self.requests_per_second {
            ensure!(
                (0.001..=10_000.0).contains(&rate),
                "front.requests_per_second is {rate}; it lies in 0.001 to 10000"
            );
            budget.gap = Duration::from_secs_f64(1.0 / rate);
        }
        if let Some(connections) = self.connections {
            ensure!((1..=1_000).contains(&connections), "front.connections is {connections}; it lies in 1 to 1000");
            budget.connections = connections;
        }
        if let Some(first_wait) = self.first_wait {
            ensure!(!first_wait.is_zero(), "front.first_wait is 0s; a server that fails needs some time");
            budget.first_wait = first_wait;
        }
        Ok(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> FrontSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_typed_keeps_its_default() {
        assert_eq!(section("").budget().unwrap(), FrontBudget::default());
        let budget = section("requests_per_second = 4\nfirst_wait = \"20ms\"").budget().unwrap();
        assert_eq!(budget.gap, Duration::from_millis(250));
        assert_eq!(budget.first_wait, Duration::from_millis(20));
        assert_eq!(budget.connections, FrontBudget::default().connections);
    }

    #[test]
    fn a_budget_of_nothing_or_without_end_is_refused() {
        for text in ["requests_per_second = 0.0", "requests_per_second = inf", "requests_per_second = nan"] {
            assert!(section(text).budget().is_err(), "{text}");
        }
        for text in ["connections = 0", "connections = 100000", "first_wait = \"0s\""] {
            assert!(section(text).budget().is_err(), "{text}");
        }
        assert!(toml::from_str::<FrontSection>("requests = 3").is_err());
    }
}
