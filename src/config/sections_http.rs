//! Settings of the HTTP API and of who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::kind::{Address, FilePath, Flag, text, unless};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::{Problem, Values};

section! {
    /// The HTTP API and the dashboard.
    pub struct Http at "http" {
        /// Address and port of API, dashboard, `/status` and `/metrics`. Whoever can reach it may try
        /// passwords, so it is this machine only by default; give it certificates (`http.tls`) before
        /// it is opened to others. Port 0 lets the system choose.
        listen: Option<SocketAddr> = "127.0.0.1:18083", unless(&["off"], Address), Restart;

        /// A second address for tools that look for EMQX 4's management API at a port of its own, such
        /// as `127.0.0.1:8081`. It serves the same.
        listen_v4: Option<SocketAddr> = "off", unless(&["off"], Address), Restart;

        /// Whether the dashboard is served at `/`. The API is served with it and without it.
        dashboard: bool = "true", Flag, Restart;
    }
}

section! {
    /// TLS for the HTTP API. With both files given it speaks HTTPS only.
    pub struct HttpTls at "http.tls" {
        /// The certificate and those that vouch for it, in PEM.
        certfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// Its private key, in PEM.
        keyfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;
    }
}

section! {
    /// The first user of the HTTP API, made at the first start.
    pub struct Dashboard at "dashboard" {
        /// Its name.
        default_username: String = "admin", text(64), Restart;

        /// Its password. `random` makes one and says it once, in the log of the first start. Once there
        /// are users, this setting is not looked at any more.
        default_password: Option<String> = "random", unless(&["random"], text(256)), Restart;
    }
}

impl HttpTls {
    /// What is wrong with the two files together, if anything.
    pub(crate) fn problem(&self, values: &Values) -> Option<Problem> {
        let (given, missing) = match (&self.certfile, &self.keyfile) {
            (Some(_), None) => ("http.tls.certfile", "http.tls.keyfile"),
            (None, Some(_)) => ("http.tls.keyfile", "http.tls.certfile"),
            _ => return None,
        };
        let what = format!("it needs `{missing}` beside it");
        let origin = values.origin(given).cloned();
        Some(match origin {
            Some(origin) => Problem::with_key(origin, given, what),
            None => Problem::overall(what),
        })
    }
}
