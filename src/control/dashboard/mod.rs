//! The dashboard: a web page that shows and does what the HTTP API tells and takes.
//!
//! The page is at `/`, what it needs below `/dashboard/`; all of it is in the program and nothing comes
//! from elsewhere. Its source is in `web/`, built files are in `dist/` (`scripts/dashboard.sh build`), so
//! that building the broker needs no Node. It asks the API like any other program: who has not logged in
//! sees a form.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::control::http::secret::sha256_hex;

/// What a browser may do with the page: load what the broker serves, ask the broker, and speak MQTT over
/// WebSocket, whose listeners have ports of their own. No other site may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Path, content type and bytes of each file.
const FILES: &[(&str, &str, &[u8])] = &[
    (
        "/",
        "text/html; charset=utf-8",
        include_bytes!("dist/index.html"),
    ),
    (
        "/dashboard/app.js",
        "text/javascript; charset=utf-8",
        include_bytes!("dist/app.js"),
    ),
    (
        "/dashboard/app.css",
        "text/css; charset=utf-8",
        include_bytes!("dist/app.css"),
    ),
    (
        "/dashboard/mqtt.js",
        "text/javascript; charset=utf-8",
        include_bytes!("dist/mqtt.js"),
    ),
    (
        "/dashboard/icon.svg",
        "image/svg+xml",
        include_bytes!("dist/icon.svg"),
    ),
];

/// A file that is served.
struct File {
    content_type: HeaderValue,
    bytes: &'static [u8],
    /// Changes with the bytes: a browser that has them is told so.
    tag: HeaderValue,
    /// Made when it is asked for first.
    compressed: OnceLock<Vec<u8>>,
}

impl File {
    fn new(content_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash = sha256_hex(bytes);
        // Weak: the same file compressed has other bytes.
        let tag = HeaderValue::from_str(&format!("W/\"{}\"", &hash[..32]));
        Self {
            content_type: HeaderValue::from_static(content_type),
            bytes,
            tag: tag.unwrap_or(HeaderValue::from_static("W/\"\"")),
            compressed: OnceLock::new(),
        }
    }

    fn compressed(&self) -> &[u8] {
        self.compressed.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing to memory does not fail.
            let _ = encoder.write_all(self.bytes);
            encoder.finish().unwrap_or_default()
        })
    }
}

/// The routes; they need no login.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for (path, content_type, bytes) in FILES {
        let file = Arc::new(File::new(content_type, bytes));
        router = router.route(path, get(serve).with_state(file));
    }
    let home = || async { Redirect::permanent("/") };
    router
        .route("/dashboard", get(home))
        .route("/dashboard/", get(home))
}

async fn serve(State(file): State<Arc<File>>, asked: HeaderMap) -> Response {
    let fixed: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // Kept, but asked for each time: a new broker has new files under the same names.
        (CACHE_CONTROL, "no-cache"),
        (VARY, "accept-encoding"),
    ];
    let has = |name: HeaderName, part: &str| {
        let mut values = asked.get_all(name).iter();
        values.any(|value| value.to_str().is_ok_and(|value| value.contains(part)))
    };
    let tag = file.tag.to_str().unwrap_or_default();
    let mut response = if has(IF_NONE_MATCH, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if has(ACCEPT_ENCODING, "gzip") {
        let mut response = file.compressed().to_vec().into_response();
        let how = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, how);
        response
    } else {
        file.bytes.into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, file.content_type.clone());
    headers.insert(ETAG, file.tag.clone());
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/control/dashboard")
            .join(name)
    }

    fn files_below(folder: &Path, found: &mut BTreeSet<String>, root: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files_below(&path, found, root),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                    found.insert(name.to_owned());
                }
            }
        }
    }

    /// The same sum as in `web/sum.mjs`.
    fn sum_of_sources() -> String {
        let root = folder("web");
        let mut names = BTreeSet::new();
        files_below(&root, &mut names, &root);
        let mut lines = String::new();
        for name in names.iter().filter(|name| !name.contains("node_modules/")) {
            let bytes = fs::read(root.join(name)).unwrap();
            lines += &format!("{}  {name}\n", sha256_hex(&bytes));
        }
        sha256_hex(lines.as_bytes())
    }

    #[test]
    fn built_files_are_those_of_the_sources() {
        let built = fs::read_to_string(folder("dist/sources.sha256")).unwrap();
        assert_eq!(
            built.trim(),
            sum_of_sources(),
            "the dashboard's sources have changed: run scripts/dashboard.sh build"
        );
    }

    #[test]
    fn all_built_files_are_served() {
        let root = folder("dist");
        let mut built = BTreeSet::new();
        files_below(&root, &mut built, &root);
        built.remove("sources.sha256");
        let served = FILES.iter().map(|(path, _, _)| match *path {
            "/" => "index.html".to_owned(),
            path => path.trim_start_matches("/dashboard/").to_owned(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), built);
    }

    #[test]
    fn nothing_is_asked_of_other_sites() {
        let page = String::from_utf8_lossy(FILES[0].2);
        for attribute in ["src=\"", "href=\""] {
            for rest in page.split(attribute).skip(1) {
                assert!(rest.starts_with("/dashboard/"), "{rest}");
            }
        }
        assert!(!page.contains("<style") && !page.contains("style="));
        for (path, content_type, bytes) in FILES {
            let is_style = content_type.starts_with("text/css");
            let text = String::from_utf8_lossy(bytes);
            assert!(!is_style || !text.contains("url("), "{path}");
        }
    }

    #[tokio::test]
    async fn a_browser_that_has_a_file_is_told_so() {
        let file = Arc::new(File::new("text/plain", b"some text some text"));
        let asked = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            serve(State(Arc::clone(&file)), headers)
        };
        let plain = asked(&[]).await;
        assert_eq!(plain.status(), StatusCode::OK);
        assert!(!plain.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(plain.headers()[CONTENT_SECURITY_POLICY], POLICY);
        let packed = asked(&[("accept-encoding", "br, gzip")]).await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        let tag = plain.headers()[ETAG].to_str().unwrap().to_owned();
        let again = asked(&[("if-none-match", &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = asked(&[("if-none-match", "W/\"other\"")]).await;
        assert_eq!(other.status(), StatusCode::OK);
    }
}
