//! Files below `s3://bucket/prefix`: asked for by signed URLs, so that a bucket is read exactly as a web server is.
//!
//! Endpoint, region and credentials come from the environment, as for every tool of this kind: `AWS_ACCESS_KEY_ID`
//! and `AWS_SECRET_ACCESS_KEY` (else a web identity's token or the machine's role), `AWS_REGION`,
//! `AWS_ENDPOINT_URL`; and `AWS_SKIP_SIGNATURE=true` for a bucket that is open to all. A plain http endpoint must be
//! this machine's, unless `AWS_ALLOW_HTTP=true`. Only signing is left to `object_store`: budget, ranges, resumption
//! and errors are those of any other front.

use std::time::Duration;

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientConfigKey, HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::signer::Signer;
use reqwest::{Client, Method};
use url::Url;

use super::http::is_this_machine;
use super::{OutsideError, with_causes};

/// How long a signed URL may be used; it is signed anew for each request.
const SIGNED_FOR: Duration = Duration::from_secs(900);

/// A bucket and a prefix in it.
#[derive(Debug)]
pub(super) struct S3Root {
    root: String,
    prefix: String,
    /// Tells where files are; it signs with a key that is none.
    layout: AmazonS3,
    /// Signs; none where the bucket is open to all.
    signer: Option<AmazonS3>,
    endpoint: Url,
}

/// Lends our client to `object_store`, for the credentials of a machine's role.
#[derive(Debug)]
struct Lent(Client);

impl HttpConnector for Lent {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl S3Root {
    /// Opens `root`, an `s3://bucket/prefix`, as the environment says; no request is made.
    ///
    /// # Errors
    /// [`OutsideError::BadRoot`].
    pub(super) async fn open(root: &str, client: &Client) -> Result<Self, OutsideError> {
        Self::open_with(root, AmazonS3Builder::from_env(), client).await
    }

    async fn open_with(root: &str, settings: AmazonS3Builder, client: &Client) -> Result<Self, OutsideError> {
        let bad = |cause: String| OutsideError::BadRoot { root: root.to_owned(), cause };
        let place = root.strip_prefix("s3://").unwrap_or(root).trim_end_matches('/');
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(bad("it names no bucket: write s3://bucket/prefix".to_owned()));
        }
        let settings = settings.with_bucket_name(bucket).with_http_connector(Lent(client.clone()));
        let is_true = |key| {
            let value: Option<String> = settings.get_config_value(&key);
            value.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
        };
        let is_open_to_all = is_true(AmazonS3ConfigKey::SkipSignature);
        let may_be_plain = is_true(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
        let failed = |cause: object_store::Error| bad(with_causes(&cause));
        let layout = settings.clone().with_access_key_id("none").with_secret_access_key("none");
        let layout = layout.build().map_err(failed)?;
        let signer = if is_open_to_all { None } else { Some(settings.build().map_err(failed)?) };
        let mut endpoint = layout.signed_url(Method::GET, &Path::from("any"), SIGNED_FOR).await.map_err(failed)?;
        endpoint.set_query(None);
        if endpoint.scheme() != "https" && !may_be_plain && !is_this_machine(&endpoint) {
            let endpoint = endpoint.origin().ascii_serialization();
            return Err(bad(format!("its endpoint {endpoint} is plain http: use https, or set AWS_ALLOW_HTTP=true")));
        }
        Ok(Self { root: format!("s3://{place}"), prefix: prefix.to_owned(), layout, signer, endpoint })
    }

    /// A URL at the bucket's front.
    pub(super) fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Where a file is, for messages.
    pub(super) fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    /// The URL to ask for a file.
    ///
    /// # Errors
    /// Where there are no credentials.
    pub(super) async fn url(&self, path: &str) -> Result<Url, OutsideError> {
        let key = if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) };
        let key = Path::parse(&key).map_err(|_| OutsideError::Escapes { path: path.to_owned() })?;
        let signer = self.signer.as_ref().unwrap_or(&self.layout);
        let signed = signer.signed_url(Method::GET, &key, SIGNED_FOR).await;
        let mut url = signed.map_err(|cause| OutsideError::BadRoot {
            root: self.root.clone(),
            cause: format!(
                "no request to it can be signed: {}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 AWS_SKIP_SIGNATURE=true where it is open to all",
                with_causes(&cause)
            ),
        })?;
        if self.signer.is_none() {
            url.set_query(None);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(root: &str, settings: AmazonS3Builder) -> Result<S3Root, OutsideError> {
        // Nothing is asked for: any client will do, and this one needs no certificates.
        let client = Client::builder().no_proxy().tls_backend_preconfigured(super::super::http::tls()).build().unwrap();
        S3Root::open_with(root, settings, &client).await
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_signed_url_names_bucket_prefix_and_file() {
        let settings = AmazonS3Builder::new().with_access_key_id("key").with_secret_access_key("secret");
        block_on(async {
            let root = open("s3://commoncrawl/crawl data/", settings).await.unwrap();
            let url = root.url("a#b/c.gz").await.unwrap();
            assert_eq!(url.host_str(), Some("s3.us-east-1.amazonaws.com"));
            assert_eq!(url.path(), "/commoncrawl/crawl%20data/a%23b/c.gz");
            assert!(url.query().unwrap().contains("X-Amz-Signature="));
            assert_eq!(root.place("a#b/c.gz"), "s3://commoncrawl/crawl data/a#b/c.gz");
        });
    }

    #[test]
    fn a_bucket_open_to_all_is_asked_without_a_signature() {
        let settings = AmazonS3Builder::new().with_skip_signature(true).with_endpoint("http://127.0.0.1:5000");
        block_on(async {
            let root = open("s3://bucket", settings).await.unwrap();
            assert_eq!(root.url("a/b").await.unwrap().as_str(), "http://127.0.0.1:5000/bucket/a/b");
        });
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_it_is_allowed() {
        let settings = || AmazonS3Builder::new().with_skip_signature(true).with_endpoint("http://s3.example");
        block_on(async {
            let refused = open("s3://bucket", settings()).await.unwrap_err().to_string();
            assert!(refused.contains("AWS_ALLOW_HTTP=true"), "{refused}");
            open("s3://bucket", settings().with_allow_http(true)).await.unwrap();
        });
    }

    #[test]
    fn a_root_without_a_bucket_is_refused() {
        let refused = block_on(open("s3://", AmazonS3Builder::new())).unwrap_err().to_string();
        assert!(refused.contains("it names no bucket"), "{refused}");
    }
}
