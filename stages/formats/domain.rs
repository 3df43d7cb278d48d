//! Registered domains: the part of a host that somebody registered, by the public suffix list.

use url::{Host, Url};

/// The registered domain of a URL's host, in lower case: `example.co.uk` of `http://img.example.co.uk/a.png`. A host
/// that is no name, or is itself a public suffix, stands for itself; none for a URL without a host.
#[must_use]
pub fn registered_domain(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    match url.host()? {
        Host::Domain(host) => {
            let host = host.trim_end_matches('.');
            Some(psl::domain_str(host).unwrap_or(host).to_owned())
        }
        address => Some(address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registered_part_of_a_host_is_told_from_its_subdomains() {
        for (url, domain) in [
            ("http://img.Example.co.uk:8080/a.png", "example.co.uk"),
            ("https://a.b.github.io/", "b.github.io"),
            ("https://example.com./", "example.com"),
            ("http://192.0.2.7/a", "192.0.2.7"),
            ("http://[2001:db8::1]/", "[2001:db8::1]"),
            ("http://localhost/", "localhost"),
        ] {
            assert_eq!(registered_domain(url).as_deref(), Some(domain), "{url}");
        }
        assert_eq!(registered_domain("data:image/png,"), None);
        assert_eq!(registered_domain("no url"), None);
    }
}
