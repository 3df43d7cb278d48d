//! Fronts: the servers of the outside world that a run asks, their budgets, and how they stand.
//!
//! A front is a scheme, a host and a port. These are messages and settings only; the stages keep the budget.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a run asks of one front at most. What the machine may do, not part of any fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontBudget {
    /// The shortest time from one request to the next.
    pub gap: Duration,
    /// Requests under way at once.
    pub connections: u32,
    /// The wait after a first failure; it doubles from failure to failure.
    pub first_wait: Duration,
}

impl Default for FrontBudget {
    fn default() -> Self {
        // Common Crawl serves "a few thousand requests per second combined for everyone" and asks for one whole file
        // a second after a refusal: ten a second is a share that a guest may take without asking.
        Self { gap: Duration::from_millis(100), connections: 8, first_wait: Duration::from_secs(1) }
    }
}

/// A front that does not serve now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unavailable {
    /// Scheme, host and port.
    pub front: String,
    /// What it did.
    pub cause: String,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// When to ask it again, in milliseconds of Unix time; none: not in this run.
    pub until_ms: Option<u64>,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = match self.until_ms {
            Some(_) => "does not serve now",
            None => "is not asked again in this run and should be left alone for hours",
        };
        write!(f, "{} {plan}: {}", self.front, self.cause)
    }
}

/// What was asked of a front so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Requests made, those that failed included.
    pub requests: u64,
    /// Requests that repeat or resume one that failed.
    pub retries: u64,
    /// Bytes of bodies received.
    pub bytes: u64,
}

/// How a front stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontReport {
    /// Scheme, host and port.
    pub front: String,
    /// Why it does not serve; none where it does.
    pub unavailable: Option<Unavailable>,
    /// What was asked of it.
    pub usage: Usage,
}
