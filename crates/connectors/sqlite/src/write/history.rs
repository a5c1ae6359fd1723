//! `scd2`: versions of a key follow each other in time; a change closes one version and opens the next.
//!
//! What arrives is put in order per key and compared with its predecessor: the one before it in the load, or the current
//! version. Only a difference in a tracked column makes a version. A row that is not later than what is stored changes
//! nothing (docs/concepts/write-modes.md). Texts of times are compared as texts, so their form is looked at first.

use rusqlite::Connection;
use synqx_model::{Code, Error};
use synqx_sdk::{Receipt, Target};

use super::ledger::Failure;
use super::publish::{Done, accounted, count, deduplicate, drop_table, join};
use super::shape::Shape;
use crate::client::quote;
use crate::mapping::Kind;

/// The names and conditions of one history, quoted.
struct History<'a> {
    shape: &'a Shape,
    wanted: &'a Target,
    target: String,
    stage: String,
    /// Staged rows in order: number, whether it is late, the one before it.
    work: String,
    /// Numbers of those that open a version.
    fresh: String,
    from: String,
    to: String,
    current: String,
    /// The time of a staged row.
    at: String,
    /// How times are stored.
    kind: Kind,
    tracked: Vec<String>,
}

impl<'a> History<'a> {
    fn new(shape: &'a Shape, wanted: &'a Target, staging: &str) -> Done<Self> {
        let options = &wanted.scd2;
        let own = |name: &str| quote(shape.column_of(name));
        let from = shape.slots.iter().find(|s| *s.field.name() == options.valid_from);
        let from = from.ok_or_else(|| Error::bug("a history has no column `valid_from`"))?;
        Ok(History {
            shape,
            wanted,
            target: format!("main.{}", quote(&shape.name)),
            stage: format!("main.{}", quote(staging)),
            work: format!("main.{}", quote(&format!("{staging}_work"))),
            fresh: format!("main.{}", quote(&format!("{staging}_open"))),
            from: own(&options.valid_from),
            to: own(&options.valid_to),
            current: own(&options.is_current),
            at: match &options.time {
                Some(time) => format!("s.{}", own(time)),
                None => format!("'{}'", wanted.run_time()),
            },
            kind: Kind::of_field(&from.field)?,
            tracked: wanted
                .tracked()
                .iter()
                .map(|name| shape.column_of(name).to_owned())
                .filter(|column| !column.is_empty())
                .collect(),
        })
    }

    /// A time as something that orders like it: the fraction of an instant comes before its `Z`.
    fn order(&self, time: &str) -> String {
        match self.kind {
            Kind::Timestamp { zoned: true, .. } => format!("rtrim({time}, 'Z')"),
            _ => time.to_owned(),
        }
    }

    /// Whether a time is stored in the form that orders like its value.
    fn in_form(&self, time: &str) -> String {
        match self.kind {
            Kind::Timestamp { zoned: true, .. } => format!("{time} GLOB '????-??-??T??:??:??*Z'"),
            Kind::Timestamp { zoned: false, .. } => format!("{time} GLOB '????-??-?? ??:??:??*'"),
            Kind::Date => format!("{time} GLOB '????-??-??'"),
            _ => format!("typeof({time}) = 'integer'"),
        }
    }

    fn key(&self) -> String {
        join(&self.shape.key, ", ", |k| k)
    }

    fn same_key(&self, left: &str, right: &str) -> String {
        join(&self.shape.key, " AND ", |k| format!("{left}.{k} = {right}.{k}"))
    }

    fn differs(&self, left: &str, right: &str) -> String {
        if self.tracked.is_empty() {
            return "0".to_owned();
        }
        join(&self.tracked, " OR ", |c| {
            format!("{left}.{c} IS NOT {right}.{c} COLLATE BINARY")
        })
    }

    /// Refuses times whose texts do not order like they do. Errors: `E0310`.
    fn check_forms(&self, connection: &Connection) -> Done<()> {
        let (from, to) = (format!("t.{}", self.from), format!("t.{}", self.to));
        let stored = format!(
            "SELECT count(*) FROM {} AS t WHERE NOT ({}) OR {to} IS NOT NULL AND NOT ({})",
            self.target,
            self.in_form(&from),
            self.in_form(&to)
        );
        let staged = format!(
            "SELECT count(*) FROM {} AS s WHERE NOT ({})",
            self.stage,
            self.in_form(&self.at)
        );
        let wrong = count(connection, &stored)? + count(connection, &staged)?;
        if wrong == 0 {
            return Ok(());
        }
        Err(Failure::Coded(
            Error::new(
                Code::E0310,
                format!(
                    "{wrong} times of the history in `{}` cannot be put in order",
                    self.shape.name
                ),
            )
            .with_detail(
                "They are not written as this connector writes them, or are outside the years 0 to 9999.",
            )
            .with_hint("correct the values of the history's time columns, or load into a new table"),
        ))
    }

    fn make_work(&self) -> [String; 2] {
        let (at, from, to) = (self.order(&self.at), self.order(&self.from), self.order(&self.to));
        [
            format!(
                "CREATE TABLE {} (seq INTEGER PRIMARY KEY, late INTEGER, before INTEGER)",
                self.work
            ),
            format!(
                "INSERT INTO {} SELECT r._synqx_seq, r._synqx_late, lag(r._synqx_seq) OVER (PARTITION BY {keys}, r._synqx_late ORDER BY r._synqx_at) FROM (\
                 SELECT s._synqx_seq, {at} AS _synqx_at, coalesce(b._synqx_from >= {at} OR b._synqx_to > {at}, 0) AS _synqx_late, {selected} \
                 FROM {} AS s LEFT JOIN (SELECT {key}, max({from}) AS _synqx_from, max({to}) AS _synqx_to FROM {} GROUP BY {key}) AS b ON {}) AS r",
                self.work,
                self.stage,
                self.target,
                self.same_key("b", "s"),
                keys = join(&self.shape.key, ", ", |k| format!("r.{k}")),
                selected = join(&self.shape.key, ", ", |k| format!("s.{k}")),
                key = self.key(),
            ),
        ]
    }

    fn make_fresh(&self) -> [String; 2] {
        [
            format!("CREATE TABLE {} (seq INTEGER PRIMARY KEY)", self.fresh),
            format!(
                "INSERT INTO {} SELECT w.seq FROM {} AS w JOIN {stage} AS s ON s._synqx_seq = w.seq \
                 LEFT JOIN {stage} AS p ON p._synqx_seq = w.before \
                 LEFT JOIN {} AS c ON w.before IS NULL AND {} AND c.{current} = 1 \
                 WHERE NOT w.late AND CASE WHEN w.before IS NOT NULL THEN {} WHEN c.{current} IS NULL THEN 1 ELSE {} END",
                self.fresh,
                self.work,
                self.target,
                self.same_key("c", "s"),
                self.differs("p", "s"),
                self.differs("c", "s"),
                stage = self.stage,
                current = self.current,
            ),
        ]
    }

    /// Late rows joined with what is stored for their key.
    fn late_and_stored(&self) -> String {
        format!(
            "{} AS w JOIN {} AS s ON s._synqx_seq = w.seq JOIN {} AS t ON {}",
            self.work,
            self.stage,
            self.target,
            self.same_key("t", "s")
        )
    }

    /// Late rows that say what is stored for their time.
    fn count_known(&self) -> String {
        let (at, from) = (self.order(&self.at), self.order(&format!("t.{}", self.from)));
        format!(
            "SELECT count(DISTINCT w.seq) FROM {} WHERE w.late AND {from} <= {at} AND (t.{to} IS NULL OR {until} > {at}) AND NOT ({})",
            self.late_and_stored(),
            self.differs("t", "s"),
            to = self.to,
            until = self.order(&format!("t.{}", self.to)),
        )
    }

    /// Late rows that say something else than the stored version of the same time.
    fn count_clashes(&self) -> String {
        format!(
            "SELECT count(*) FROM {} WHERE w.late AND {} = {} AND ({})",
            self.late_and_stored(),
            self.order(&format!("t.{}", self.from)),
            self.order(&self.at),
            self.differs("t", "s")
        )
    }

    fn count_broken(&self) -> String {
        format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} = 1 GROUP BY {} HAVING count(*) > 1)",
            self.target,
            self.current,
            self.key()
        )
    }

    /// Ends the current versions of keys that get a new one.
    fn close(&self) -> String {
        // The smallest in order is the smallest text, because all are of one form.
        format!(
            "UPDATE {} AS t SET {} = f._synqx_at, {current} = 0 FROM (SELECT {keys}, min({at}) AS _synqx_order, {raw} AS _synqx_at \
             FROM {} AS o JOIN {} AS s ON s._synqx_seq = o.seq GROUP BY {keys}) AS f WHERE {} AND t.{current} = 1",
            self.target,
            self.to,
            self.fresh,
            self.stage,
            self.same_key("t", "f"),
            keys = join(&self.shape.key, ", ", |k| format!("s.{k}")),
            at = self.order(&self.at),
            raw = self.at,
            current = self.current,
        )
    }

    /// Each new version holds until the next one of its key.
    fn open(&self) -> String {
        let arrived: Vec<String> = self.shape.arrived().map(|(_, column)| column.clone()).collect();
        let columns = join(&arrived, ", ", |c| c);
        format!(
            "{} INTO {} ({columns}, {}, {}, {}) SELECT {}, {at}, lead({at}) OVER w, lead({at}) OVER w IS NULL \
             FROM {} AS o JOIN {} AS s ON s._synqx_seq = o.seq WINDOW w AS (PARTITION BY {} ORDER BY {})",
            self.shape.insert_words(),
            self.target,
            self.from,
            self.to,
            self.current,
            join(&arrived, ", ", |c| format!("s.{c}")),
            self.fresh,
            self.stage,
            join(&self.shape.key, ", ", |k| format!("s.{k}")),
            self.order(&self.at),
            at = self.at,
        )
    }

    /// Current versions whose key does not arrive.
    fn missing(&self) -> String {
        format!(
            "t.{} = 1 AND NOT EXISTS (SELECT 1 FROM {} AS s WHERE {})",
            self.current,
            self.stage,
            self.same_key("s", "t")
        )
    }
}

/// Brings the history up to what arrived. Errors: `E0308`, `E0310`, `E0318`, `E0505`.
pub(super) fn publish(
    connection: &Connection,
    shape: &Shape,
    wanted: &Target,
    staging: &str,
    rows: u64,
) -> Done<Receipt> {
    let history = History::new(shape, wanted, staging)?;
    history.check_forms(connection)?;
    let broken = count(connection, &history.count_broken())?;
    if broken > 0 {
        return Err(ambiguous(shape, wanted, broken));
    }
    let versions: Vec<String> = wanted
        .version_key()
        .iter()
        .map(|name| shape.column_of(name).to_owned())
        .collect();
    let lost = deduplicate(connection, &versions, shape, &history.stage)?;
    let index = quote(&format!("{staging}_key"));
    let keys = history.key();
    connection.execute(
        &format!("CREATE INDEX main.{index} ON {} ({keys})", quote(staging)),
        [],
    )?;
    for statement in history.make_work().iter().chain(&history.make_fresh()) {
        connection.execute(statement, [])?;
    }
    let (work, fresh) = (&history.work, &history.fresh);
    let late = count(connection, &format!("SELECT count(*) FROM {work} WHERE late"))?;
    let opened = count(connection, &format!("SELECT count(*) FROM {fresh}"))?;
    let known = count(connection, &history.count_known())?;
    let clashes = match wanted.scd2.time {
        Some(_) => count(connection, &history.count_clashes())?,
        None => late - known,
    };
    if clashes > 0 {
        return Err(clash(shape, wanted, clashes));
    }
    let deleted = if wanted.scd2.close_missing {
        close_missing(connection, &history)?
    } else {
        0
    };
    connection.execute(&history.close(), [])?;
    let inserted = connection.execute(&history.open(), [])? as u64;
    accounted(shape, "versions to be inserted", opened, inserted)?;
    let broken = count(connection, &history.count_broken())?;
    accounted(shape, "keys with more than one current version", 0, broken)?;
    connection.execute(&format!("DROP TABLE {work}"), [])?;
    connection.execute(&format!("DROP TABLE {fresh}"), [])?;
    drop_table(connection, staging)?;
    Ok(Receipt {
        inserted,
        unchanged: rows - lost - late - opened + known,
        superseded: lost + late - known,
        deleted,
        ..Receipt::default()
    })
}

/// Closes the versions whose key did not arrive, if they are not too many. Errors: `E0308`, `E0318`, `E0505`.
fn close_missing(connection: &Connection, history: &History<'_>) -> Done<u64> {
    let (target, missing) = (&history.target, history.missing());
    let stored = format!(
        "SELECT count(*) FROM {target} AS t WHERE t.{} = 1",
        history.current
    );
    let stored = count(connection, &stored)?;
    let doomed = count(
        connection,
        &format!("SELECT count(*) FROM {target} AS t WHERE {missing}"),
    )?;
    history.wanted.check_share(doomed, stored)?;
    let later = format!(
        "SELECT count(*) FROM {target} AS t WHERE {missing} AND {} >= {}",
        history.order(&format!("t.{}", history.from)),
        history.order(&history.at)
    );
    let later = count(connection, &later)?;
    if later > 0 {
        return Err(clash(history.shape, history.wanted, later));
    }
    let close = format!(
        "UPDATE {target} AS t SET {} = {}, {} = 0 WHERE {missing}",
        history.to, history.at, history.current
    );
    let closed = connection.execute(&close, [])? as u64;
    accounted(history.shape, "versions to be closed", doomed, closed)?;
    Ok(closed)
}

fn ambiguous(shape: &Shape, wanted: &Target, broken: u64) -> Failure {
    Failure::Coded(
        Error::new(
            Code::E0308,
            format!(
                "{broken} keys of table `{}` have more than one current version",
                shape.name
            ),
        )
        .with_detail("This load would not know which one to close. Nothing was published.")
        .with_hint(format!(
            "leave `{}` true for one row of each key",
            wanted.scd2.is_current
        )),
    )
}

fn clash(shape: &Shape, wanted: &Target, clashes: u64) -> Failure {
    let (keys, name) = (wanted.key.join("`, `"), &shape.name);
    Failure::Coded(match &wanted.scd2.time {
        Some(time) => Error::new(
            Code::E0308,
            format!("{clashes} rows for the history in table `{name}` have the time of a stored version and other values"),
        )
        .with_detail(format!("Key `{keys}`, time `{time}`: one moment cannot have two versions. Nothing was published."))
        .with_hint("give changed rows a later time, or choose another column as `scd2.time`"),
        None => Error::new(
            Code::E0308,
            format!("{clashes} keys of the history in table `{name}` have a stored version that is later than this run"),
        )
        .with_detail(format!("The run began at {}. Nothing was published.", wanted.run_time()))
        .with_hint("run again; if it stays, the clock of this machine or of the one that loaded before is wrong"),
    })
}
