//! EMQX 4's plugins for users and rules, and its webhook.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::import::emqx::Flat;
use crate::cli::import::sheet::{Sheet, plain};
use crate::config::quoted;

/// Fields that a table of this broker has under another name, by plugin.
const FIELDS: &[(&str, &str)] = &[
    ("server", "server"),
    ("servers", "server"),
    ("pool", "pool_size"),
    ("pool_size", "pool_size"),
    ("username", "username"),
    ("login", "username"),
    ("password", "password"),
    ("database", "database"),
    ("query_timeout", "query_timeout"),
    ("auth_source", "auth_source"),
];

/// What was found of plugins.
#[derive(Default)]
pub(super) struct Access {
    /// By plugin: `http`, `mysql` and so on.
    plugins: BTreeMap<String, Vec<Flat>>,
    /// Users of `emqx_auth_mnesia`, by their numbers.
    users: Vec<Flat>,
    subscriptions: BTreeMap<u32, Vec<Flat>>,
    webhook: Vec<Flat>,
}

/// A field of a table, its value as TOML, and where it comes from.
type Field = (String, String, crate::cli::import::sheet::Place);

impl Access {
    /// `auth.<plugin>.<setting>`.
    pub(super) fn note(&mut self, flat: Flat) {
        let plugin = flat.key.split('.').nth(1).unwrap_or_default().to_owned();
        match plugin.as_str() {
            "client" | "user" => self.users.push(flat),
            _ => self.plugins.entry(plugin).or_default().push(flat),
        }
    }

    /// `module.subscription.<n>.<field>`.
    pub(super) fn note_subscription(&mut self, flat: Flat) {
        let number = flat.key.split('.').nth(2).and_then(|n| n.parse().ok());
        let number = number.unwrap_or(u32::MAX);
        self.subscriptions.entry(number).or_default().push(flat);
    }

    /// `web.hook.<setting>`.
    pub(super) fn note_webhook(&mut self, flat: Flat) {
        self.webhook.push(flat);
    }

    /// Writes everything down.
    pub(super) fn write(self, sheet: &mut Sheet) {
        for fields in self.subscriptions.into_values() {
            let field = |flat: Flat| {
                let name = flat.key.rsplit('.').next().unwrap_or_default().to_owned();
                (name, plain(&flat.value), flat.place)
            };
            sheet.table(
                "auto_subscribe.topics",
                fields.into_iter().map(field).collect(),
            );
        }
        for flat in self.users {
            let why = "users of the built-in database are not in this file in the clear; add them with \
                       POST /api/v5/authentication/password_based:built_in_database/users";
            sheet.lose(&flat.place, why);
        }
        for (plugin, settings) in &self.plugins {
            match plugin.as_str() {
                "http" => http(settings, sheet),
                "jwt" => jwt(settings, sheet),
                "redis" => store("redis", settings, sheet),
                "mysql" => store("mysql", settings, sheet),
                "pgsql" => store("postgresql", settings, sheet),
                "mongo" => store("mongodb", settings, sheet),
                "ldap" => ldap(settings, sheet),
                "mnesia" => built_in(settings, sheet),
                _ => {
                    for flat in settings {
                        sheet.lose(&flat.place, "there is no such plugin here");
                    }
                }
            }
        }
        webhook(self.webhook, sheet);
    }
}

/// The rest of a name behind `auth.<plugin>.`.
fn rest(flat: &Flat) -> &str {
    flat.key.splitn(3, '.').nth(2).unwrap_or_default()
}

fn find<'f>(settings: &'f [Flat], name: &str) -> Option<&'f Flat> {
    let set = |flat: &&Flat| rest(flat) == name && !flat.value.is_empty();
    settings.iter().find(set)
}

fn field(key: &str, value: String, flat: &Flat) -> Field {
    (key.to_owned(), value, flat.place.clone())
}

/// Notes each setting of a plugin that none of `used` begins.
fn lose_others(settings: &[Flat], used: &[&str], sheet: &mut Sheet) {
    for flat in settings {
        let name = rest(flat);
        let known =
            |begin: &&str| name == *begin || begin.ends_with('.') && name.starts_with(*begin);
        if used.iter().any(known) || flat.value.is_empty() {
            continue;
        }
        let why = match name {
            "super_query"
            | "super_cmd"
            | "super_query.collection"
            | "super_query.selector"
            | "super_query.super_field" => {
                "superusers are told by the first query: let it give `is_superuser` as well"
            }
            name if name.starts_with("super_req") => {
                "superusers are told by the answer about the login: `is_superuser`"
            }
            name if name.starts_with("ssl") => {
                "connections to it are not set up from this file; see \
                docs/authentication.md for what its backend has"
            }
            "auto_reconnect" | "encoding" | "enable_pipelining" | "pool_type" => "it is always so",
            _ => "its backend has nothing of that name",
        };
        sheet.lose(&flat.place, why);
    }
}

/// A list of `name=value` with commas.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect()
}

fn http(settings: &[Flat], sheet: &mut Sheet) {
    for (request, list) in [
        ("auth_req", "authentication"),
        ("acl_req", "authorization.sources.remote"),
    ] {
        let Some(url) =
            find(settings, &format!("{request}.url")).or_else(|| find(settings, request))
        else {
            continue;
        };
        let mut table = match request {
            "auth_req" => vec![
                field("mechanism", quoted("password_based"), url),
                field("backend", quoted("http"), url),
            ],
            _ => vec![field("type", quoted("http"), url)],
        };
        table.push(field("url", quoted(&url.value), url));
        table.push(field("shape", quoted("v4"), url));
        if let Some(method) = find(settings, &format!("{request}.method")) {
            table.push(field("method", quoted(&method.value), method));
        }
        for (name, own) in [
            ("timeout", "request_timeout"),
            ("request_timeout", "request_timeout"),
            ("connect_timeout", "connect_timeout"),
            ("pool_size", "pool_size"),
        ] {
            if let Some(flat) = find(settings, name) {
                table.push(field(own, plain(&flat.value), flat));
            }
        }
        if let Some(params) = find(settings, &format!("{request}.params")) {
            for (name, value) in pairs(&params.value) {
                table.push(field(
                    &format!("body.{}", toml_key(name)),
                    quoted(value),
                    params,
                ));
            }
        }
        let headers = format!("{request}.headers.");
        for flat in settings {
            if let Some(name) = rest(flat).strip_prefix(&headers) {
                let name = toml_key(&name.replace('_', "-"));
                table.push(field(&format!("headers.{name}"), quoted(&flat.value), flat));
            }
        }
        sheet.table(list, table);
    }
    let used = [
        "auth_req",
        "acl_req",
        "auth_req.",
        "acl_req.",
        "timeout",
        "request_timeout",
        "connect_timeout",
        "pool_size",
    ];
    lose_others(settings, &used, sheet);
}

/// A key of TOML, quoted where it has to be.
fn toml_key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !name.is_empty() && name.bytes().all(bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

fn jwt(settings: &[Flat], sheet: &mut Sheet) {
    let Some(first) = settings.first() else {
        return;
    };
    let mut table = vec![field("mechanism", quoted("jwt"), first)];
    let jwks = find(settings, "jwks.endpoint").or_else(|| find(settings, "jwks"));
    if let Some(endpoint) = jwks {
        table.push(field("use_jwks", "true".to_owned(), endpoint));
        table.push(field("endpoint", quoted(&endpoint.value), endpoint));
    } else if let Some(key) = find(settings, "pubkey") {
        table.push(field("algorithm", quoted("public-key"), key));
        table.push(field("public_key", quoted(&key.value), key));
    }
    for (name, own) in [
        ("secret", "secret"),
        ("from", "from"),
        ("jwks.refresh_interval", "refresh_interval"),
        ("acl_claim_name", "acl_claim_name"),
    ] {
        if let Some(flat) = find(settings, name) {
            table.push(field(own, quoted(&flat.value), flat));
        }
    }
    let verifies = find(settings, "verify_claims").is_some_and(|flat| flat.value == "on");
    for flat in settings.iter().filter(|_| verifies) {
        if let Some(claim) = rest(flat).strip_prefix("verify_claims.") {
            let key = format!("verify_claims.{}", toml_key(claim));
            table.push(field(&key, quoted(&flat.value), flat));
        }
    }
    sheet.table("authentication", table);
    let used = [
        "secret",
        "from",
        "pubkey",
        "jwks",
        "jwks.endpoint",
        "jwks.refresh_interval",
        "acl_claim_name",
        "verify_claims",
        "verify_claims.",
    ];
    lose_others(settings, &used, sheet);
}

/// A database: one table for the login, one for the rules.
fn store(kind: &str, settings: &[Flat], sheet: &mut Sheet) {
    let common = || -> Vec<Field> {
        let mut fields: Vec<Field> = Vec::new();
        for (name, own) in FIELDS {
            let known = |key: &&str| kind != "redis" || *key != "username";
            if let Some(flat) = find(settings, name).filter(|_| known(own)) {
                fields.push(field(own, of_database(kind, own, &flat.value), flat));
            }
        }
        if let Some(flat) = find(settings, "type").filter(|flat| flat.value != "single") {
            let key = if kind == "redis" {
                "redis_type"
            } else {
                "mongo_type"
            };
            fields.push(field(key, quoted(&flat.value), flat));
        }
        fields
    };
    let (ask, rules) = match kind {
        "redis" => ("auth_cmd", "acl_cmd"),
        "mongodb" => ("auth_query.collection", "acl_query.collection"),
        _ => ("auth_query", "acl_query"),
    };
    if let Some(query) = find(settings, ask) {
        let mut table = vec![
            field("mechanism", quoted("password_based"), query),
            field("backend", quoted(kind), query),
        ];
        table.extend(common());
        table.push(field(query_field(kind), quoted(&query.value), query));
        table.extend(selector("auth_query.selector", settings));
        for (name, own) in [
            ("password_hash", "password_hash_algorithm"),
            ("auth_query.password_hash", "password_hash_algorithm"),
            ("auth_query.password_field", "password_hash_field"),
        ] {
            if let Some(flat) = find(settings, name) {
                table.push(field(own, quoted(&flat.value), flat));
            }
        }
        sheet.table("authentication", table);
    }
    if let Some(query) = find(settings, rules) {
        let mut table = vec![field("type", quoted(kind), query)];
        table.extend(common());
        table.push(field(query_field(kind), quoted(&query.value), query));
        table.extend(selector("acl_query.selector", settings));
        sheet.table("authorization.sources.remote", table);
    }
    let mut used: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    used.extend([
        ask,
        rules,
        "type",
        "password_hash",
        "auth_query.password_hash",
        "auth_query.password_field",
        "auth_query.selector",
        "acl_query.selector",
    ]);
    lose_others(settings, &used, sheet);
}

fn query_field(kind: &str) -> &'static str {
    match kind {
        "redis" => "cmd",
        "mongodb" => "collection",
        _ => "query",
    }
}

/// `username=%u` as a filter.
fn selector(name: &str, settings: &[Flat]) -> Vec<Field> {
    let Some(flat) = find(settings, name) else {
        return Vec::new();
    };
    let of_pair = |(key, value): (&str, &str)| {
        let key = format!("filter.{}", toml_key(key));
        field(&key, quoted(value), flat)
    };
    pairs(&flat.value).into_iter().map(of_pair).collect()
}

fn of_database(kind: &str, own: &str, value: &str) -> String {
    match (kind, own) {
        // A number in Redis, a name elsewhere.
        ("redis", "database") | (_, "pool_size" | "query_timeout") => plain(value),
        _ => quoted(value),
    }
}

fn ldap(settings: &[Flat], sheet: &mut Sheet) {
    let Some(server) = find(settings, "servers") else {
        return lose_others(settings, &[], sheet);
    };
    let port = find(settings, "port").map_or("389", |flat| flat.value.as_str());
    let mut table = vec![
        field("mechanism", quoted("password_based"), server),
        field("backend", quoted("ldap"), server),
        field(
            "server",
            quoted(&format!("{}:{port}", server.value)),
            server,
        ),
    ];
    for (name, own) in [
        ("bind_dn", "username"),
        ("bind_password", "password"),
        ("device_dn", "base_dn"),
    ] {
        if let Some(flat) = find(settings, name) {
            table.push(field(own, quoted(&flat.value), flat));
        }
    }
    if let Some(flat) = find(settings, "timeout") {
        table.push(field("query_timeout", plain(&flat.value), flat));
    }
    if let Some(flat) = find(settings, "pool") {
        table.push(field("pool_size", plain(&flat.value), flat));
    }
    let class = find(settings, "match_objectclass");
    let uid = find(settings, "username.attributetype");
    if let (Some(class), Some(uid)) = (class, uid) {
        let filter = format!(
            "(& (objectClass={}) ({}=${{username}}))",
            class.value, uid.value
        );
        table.push(field("filter", quoted(&filter), class));
    }
    if let Some(flat) = find(settings, "password.attributetype") {
        let method = format!(
            "{{ type = \"hash\", password_attribute = {} }}",
            quoted(&flat.value)
        );
        table.push(field("method", method, flat));
    }
    sheet.table("authentication", table);
    let used = [
        "servers",
        "port",
        "bind_dn",
        "bind_password",
        "device_dn",
        "timeout",
        "pool",
        "match_objectclass",
        "username.attributetype",
        "password.attributetype",
    ];
    lose_others(settings, &used, sheet);
}

fn built_in(settings: &[Flat], sheet: &mut Sheet) {
    let Some(flat) = find(settings, "password_hash") else {
        return;
    };
    sheet.table(
        "authentication",
        vec![
            field("mechanism", quoted("password_based"), flat),
            field("backend", quoted("built_in_database"), flat),
        ],
    );
    let why = "its users lie in EMQX's database: export them with `emqx_ctl data export` and add them \
               with import_users of the API";
    sheet.lose(&flat.place, why);
}

fn webhook(settings: Vec<Flat>, sheet: &mut Sheet) {
    for flat in settings {
        let name = flat.key.strip_prefix("web.hook.").unwrap_or_default();
        if name.starts_with("rule.") {
            rule(&flat, sheet);
            continue;
        }
        let (own, value) = match name {
            "url" | "api.url" => {
                sheet.set("webhook.enable", "true", &flat.place);
                ("url", quoted(&flat.value))
            }
            "body.encoding_of_payload_field" | "encode_payload" => {
                ("encode_payload", quoted(&flat.value))
            }
            "pool_size" => ("pool_size", plain(&flat.value)),
            "request_timeout" => ("request_timeout", plain(&flat.value)),
            "connect_timeout" => ("connect_timeout", plain(&flat.value)),
            "ssl.cacertfile" | "api.ssl.cacertfile" if !flat.value.is_empty() => {
                ("cacertfile", quoted(&flat.value))
            }
            "headers.authorization" => ("authorization", quoted(&flat.value)),
            "headers.content_type" | "headers.content-type" => {
                sheet.drop(&flat.place, "bodies are always JSON");
                continue;
            }
            _ => {
                sheet.lose(&flat.place, "the webhook has nothing of that name");
                continue;
            }
        };
        sheet.set(format!("webhook.{own}"), value, &flat.place);
    }
}

/// `web.hook.rule.client.connect.1 = {"action": "on_client_connect", "topic": "a/#"}`
fn rule(flat: &Flat, sheet: &mut Sheet) {
    let value: Value = serde_json::from_str(&flat.value).unwrap_or_default();
    let Some(action) = value["action"].as_str() else {
        return sheet.lose(
            &flat.place,
            "this is no rule such as {\"action\": \"on_client_connected\"}",
        );
    };
    let mut table = vec![field("action", quoted(action), flat)];
    if let Some(topic) = value["topic"].as_str() {
        table.push(field("topic", quoted(topic), flat));
    }
    sheet.table("webhook.rules", table);
}
