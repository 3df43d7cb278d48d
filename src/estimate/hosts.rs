//! The slowest site: no number of workers makes one host faster than it allows.

use std::collections::BTreeMap;

use super::published::LARGEST_DOMAIN;
use super::value::{Basis, Value, amount};
use super::{Settings, SlowestHost};

/// The domain that takes longest for `images` requests in all, shared out as `domains` were; a domain of an assumed
/// share where none was counted.
pub(super) fn slowest(
    images: Value,
    images_from: &str,
    domains: Option<&BTreeMap<String, u64>>,
    settings: &Settings,
    is_asked: bool,
) -> SlowestHost {
    let rate_of = |domain: &str| settings.ceilings.get(domain).copied().unwrap_or(settings.ceiling);
    let all: u64 = domains.map_or(0, |domains| domains.values().sum());
    // The first of equals, by name.
    let measured = domains.into_iter().flatten().fold(None, |slowest: Option<(&String, f64, f64)>, (domain, count)| {
        let share = amount(*count) / amount(all);
        let seconds = images.amount * share / rate_of(domain);
        if slowest.is_some_and(|(_, _, longest)| longest >= seconds) { slowest } else { Some((domain, share, seconds)) }
    });
    match measured {
        Some((domain, share, seconds)) => {
            let share = Value::new(share, Basis::Measured);
            SlowestHost {
                domain: Some(domain.clone()),
                share,
                requests: images.times(share),
                rate: rate_of(domain),
                seconds,
                from: format!("its share of {all} candidates; {images_from}"),
                is_asked,
            }
        }
        None => {
            let share = Value::new(LARGEST_DOMAIN.amount, LARGEST_DOMAIN.basis);
            let requests = images.times(share);
            SlowestHost {
                domain: None,
                share,
                requests,
                rate: settings.ceiling,
                seconds: requests.amount / settings.ceiling,
                from: format!("{}; {images_from}", LARGEST_DOMAIN.from),
                is_asked,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(ceilings: &[(&str, f64)]) -> Settings {
        let ceilings = ceilings.iter().map(|(domain, rate)| ((*domain).to_owned(), *rate)).collect();
        Settings { workers: 1, front_rate: 100.0, line_bytes_per_second: 1e8, ceiling: 10.0, ceilings }
    }

    #[test]
    fn a_domain_with_a_twentieth_of_mmc4s_images_takes_79_days() {
        let images = Value::new(1.37e9, Basis::Published);
        let slowest = slowest(images, "", None, &settings(&[]), true);
        let days = slowest.seconds / 86_400.0;
        assert!((79.0..79.5).contains(&days), "{days}");
        assert_eq!((slowest.domain, slowest.share.basis), (None, Basis::Assumed));
    }

    #[test]
    fn the_slowest_domain_is_that_of_its_share_and_its_own_ceiling() {
        let domains = BTreeMap::from([("a.example".to_owned(), 70), ("b.example".to_owned(), 30)]);
        let images = Value::new(1_000.0, Basis::Measured);
        let even = slowest(images, "", Some(&domains), &settings(&[]), true);
        assert_eq!((even.domain.as_deref(), even.seconds), (Some("a.example"), 70.0));
        let own = slowest(images, "", Some(&domains), &settings(&[("b.example", 1.0)]), true);
        assert_eq!((own.domain.as_deref(), own.seconds, own.rate), (Some("b.example"), 300.0, 1.0));
    }
}
