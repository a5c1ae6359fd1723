//! The connection's configuration: one URL, or host, port, database, user and password.
//!
//! The doc comments become the JSON Schema and the console's form. `Settings` is what the rest of the crate uses:
//! checked, with defaults, its password hidden from `Debug`. Nothing is contacted here.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use synqx_model::size::Span;
use synqx_model::{Code, Error, Result};
use synqx_sdk::Env;
use tokio_postgres::config::Host;

/// A PostgreSQL database, 13 or newer.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Everything in one: `postgres://user:password@host:5432/database?sslmode=require`. Other keys win over it.
    #[serde(default)]
    pub url: Option<String>,
    /// Host name, address, or folder of a Unix socket. Default `localhost`.
    #[serde(default)]
    pub host: Option<String>,
    /// Port. Default 5432.
    #[serde(default)]
    pub port: Option<u16>,
    /// Database. Default: the user's name, as PostgreSQL has it.
    #[serde(default)]
    pub database: Option<String>,
    /// User.
    #[serde(default)]
    pub user: Option<String>,
    /// Password; best a reference such as `secret://env/PG_PASSWORD`.
    #[serde(default)]
    pub password: Option<String>,
    /// Schema of names that do not say one. Default `public`.
    #[serde(default)]
    pub schema: Option<String>,
    /// Encryption.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// What the server's activity views call the sessions. Default `synqx`.
    #[serde(default)]
    pub application_name: Option<String>,
    /// How long to wait for a connection. Default `10s`.
    #[serde(default)]
    pub connect_timeout: Option<Span>,
    /// Longest a statement may run on the server. No limit by default: a copy of a large table is one statement.
    #[serde(default)]
    pub statement_timeout: Option<Span>,
    /// Longest to wait for a lock on the server. Default `10s`.
    #[serde(default)]
    pub lock_timeout: Option<Span>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Encryption of the connection.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// What is demanded. Default `prefer`.
    #[serde(default)]
    pub mode: TlsMode,
    /// PEM file of the authorities to trust; by default those of the system and Mozilla's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// PEM file of the client's private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// What is demanded of the connection's encryption; the words are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// Never encrypted.
    Disable,
    /// Encrypted when the server can; the server is not checked.
    #[default]
    Prefer,
    /// Encrypted; the server is not checked.
    Require,
    /// Encrypted; the certificate must come from a trusted authority.
    VerifyCa,
    /// Encrypted; the certificate must come from a trusted authority and name the host.
    VerifyFull,
}

/// A checked configuration.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) schema: String,
    pub(crate) tls: Tls,
    pub(crate) connect_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) lock_timeout: Duration,
    /// Where it connects to, for messages: `host:port/database`.
    pub(crate) place: String,
    /// The (first) host is a Unix socket.
    pub(crate) socket: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", self.place)
    }
}

impl Settings {
    /// Checks a configuration. Errors: `E0103`.
    pub(crate) fn of(config: Config, env: &Env) -> Result<Self> {
        let at = format!("connections.{}", env.name);
        let mut tls = config.tls.unwrap_or_default();
        let mut driver = match &config.url {
            Some(url) => {
                let stripped = take_tls(url, &mut tls, &at)?;
                stripped.parse::<tokio_postgres::Config>().map_err(|_| {
                    wrong(&at, "`url` is not a PostgreSQL URL")
                        .with_hint("write postgres://user:password@host:5432/database, with % escapes in user and password")
                })?
            }
            None => tokio_postgres::Config::new(),
        };
        if let Some(host) = &config.host {
            if config.url.is_some() && !driver.get_hosts().is_empty() {
                return Err(wrong(&at, "`url` and `host` both name a host").with_hint("keep one of them"));
            }
            driver.host(host);
        }
        if driver.get_hosts().is_empty() {
            driver.host("localhost");
        }
        if let Some(port) = config.port {
            driver.port(port);
        }
        if let Some(database) = &config.database {
            driver.dbname(database);
        }
        if let Some(user) = &config.user {
            driver.user(user);
        }
        if let Some(password) = &config.password {
            driver.password(password);
        }
        if let Some(password) = driver.get_password().and_then(|p| std::str::from_utf8(p).ok()) {
            env.redactor.register(password);
        }
        let connect_timeout = config.connect_timeout.map_or(Duration::from_secs(10), |s| s.0);
        driver
            .application_name(config.application_name.as_deref().unwrap_or("synqx"))
            .connect_timeout(connect_timeout)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(60))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(6);
        if (tls.cert.is_some()) != (tls.key.is_some()) {
            return Err(
                wrong(&at, "`tls.cert` and `tls.key` belong together").with_hint("give both or neither")
            );
        }
        for path in [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().flatten() {
            *path = env.base_dir.join(&*path);
        }
        let schema = config.schema.unwrap_or_else(|| "public".to_owned());
        crate::names::check_identifier(&schema, "schema")?;
        let (place, socket) = place(&driver);
        Ok(Settings {
            driver,
            schema,
            tls,
            connect_timeout,
            statement_timeout: config.statement_timeout.map_or(Duration::ZERO, |s| s.0),
            lock_timeout: config.lock_timeout.map_or(Duration::from_secs(10), |s| s.0),
            place,
            socket,
        })
    }
}

fn place(driver: &tokio_postgres::Config) -> (String, bool) {
    let port = driver.get_ports().first().copied().unwrap_or(5432);
    let (host, socket) = match driver.get_hosts().first() {
        Some(Host::Tcp(host)) => (host.clone(), false),
        #[cfg(unix)]
        Some(Host::Unix(path)) => (path.display().to_string(), true),
        None => ("localhost".to_owned(), false),
    };
    let database = driver.get_dbname().or_else(|| driver.get_user()).unwrap_or("?");
    (format!("{host}:{port}/{database}"), socket)
}

fn wrong(at: &str, what: &str) -> Error {
    Error::new(Code::E0103, format!("{at}: {what}"))
}

/// Takes libpq's TLS parameters out of a URL, which the driver knows only in part.
fn take_tls(url: &str, tls: &mut Tls, at: &str) -> Result<String> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok(url.to_owned());
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "sslmode" => {
                tls.mode = match value {
                    "disable" => TlsMode::Disable,
                    "allow" | "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-ca" => TlsMode::VerifyCa,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => {
                        return Err(wrong(at, &format!("`sslmode={value}` of `url` is not known"))
                            .with_hint("use disable, prefer, require, verify-ca or verify-full"));
                    }
                }
            }
            "sslrootcert" => tls.ca = Some(PathBuf::from(value)),
            "sslcert" => tls.cert = Some(PathBuf::from(value)),
            "sslkey" => tls.key = Some(PathBuf::from(value)),
            _ => kept.push(pair),
        }
    }
    Ok(if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    })
}

#[cfg(test)]
mod tests {
    use synqx_sdk::Role;

    use super::*;

    fn settings(config: Config) -> Result<Settings> {
        Settings::of(config, &Env::standalone("mart", Role::Source, "/base"))
    }

    #[test]
    fn reads_a_url_with_libpqs_tls_words() {
        let url =
            Some("postgres://etl:s3cr3t-word@db:6000/mart?sslmode=verify-full&sslrootcert=ca.pem".into());
        let read = settings(Config {
            url,
            ..Default::default()
        })
        .expect("reads");
        assert_eq!(
            (read.tls.mode, read.place.as_str()),
            (TlsMode::VerifyFull, "db:6000/mart")
        );
        assert_eq!(read.tls.ca, Some(PathBuf::from("/base/ca.pem")));
        assert!(!format!("{read:?}").contains("s3cr3t"));
    }

    #[test]
    fn keeps_the_password_of_a_url_out_of_texts() {
        let env = Env::standalone("mart", Role::Source, "/");
        let url = Some("postgres://etl:s3cr3t-word@db/mart".into());
        Settings::of(
            Config {
                url,
                ..Default::default()
            },
            &env,
        )
        .expect("reads");
        assert!(!env.redactor.clean("it was s3cr3t-word").contains("s3cr3t"));
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let bad = |config| settings(config).err().map(|e| e.code());
        assert_eq!(
            bad(Config {
                url: Some("postgres://a/b".into()),
                host: Some("c".into()),
                ..Default::default()
            }),
            Some(Code::E0103)
        );
        assert_eq!(
            bad(Config {
                url: Some("postgres://a/b?sslmode=maybe".into()),
                ..Default::default()
            }),
            Some(Code::E0103)
        );
        let tls = Some(Tls {
            cert: Some("c".into()),
            ..Default::default()
        });
        assert_eq!(
            bad(Config {
                tls,
                ..Default::default()
            }),
            Some(Code::E0103)
        );
    }
}
