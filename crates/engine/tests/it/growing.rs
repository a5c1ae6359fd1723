//! Incremental runs at random: a table that grows, runs that die anywhere, commits whose request or answer is lost.
//!
//! The same histories in every run, told by their seeds. After every event each destination is looked at: its rows must
//! be exactly those of the source up to the position stored beside them, once each, so the position is never ahead. At
//! the end all rows are there. Two loads, into PostgreSQL behind a proxy that breaks and into SQLite, share the read.

use std::path::Path;
use std::sync::Arc;

use synqx_model::Position;
use synqx_sdk::{Effect, Probe};
use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::proxy::FaultProxy;
use synqx_testkit::services::Server;

use crate::killing::{Cell, Job, after, before, killed_at, small};
use crate::network::{Breaks, Lost, proxy_to};
use crate::setting::{engine, spec, write};

const SEEDS: [u64; 3] = [1, 20_240_229, 0x5eed];
const EVENTS: usize = 14;

/// A fixed sequence of numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// Any place in a run, before or after.
    fn cell(&mut self) -> Cell {
        let effect = Effect::ALL[self.below(Effect::ALL.len())];
        let cell = [before(effect), after(effect)][self.below(2)];
        cell.nth(1 + self.below(2) as u32)
    }
}

#[derive(Debug)]
enum Event {
    Undisturbed,
    Killed(Cell),
    Broken(Lost),
}

impl Event {
    fn at(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Event::Undisturbed,
            1 => Event::Broken(Lost::Request),
            2 => Event::Broken(Lost::Answer),
            // Twice as often where it hurts most.
            3 => Event::Killed(after(Effect::Publish).nth(1 + random.below(2) as u32)),
            _ => Event::Killed(random.cell()),
        }
    }
}

struct Shop {
    dir: tempfile::TempDir,
    database: ThrowAwayDatabase,
    proxy: Arc<FaultProxy>,
}

impl Shop {
    async fn new() -> Self {
        let database = ThrowAwayDatabase::on(Server::Postgres15)
            .await
            .expect("cargo x up");
        let make =
            "create table src (id bigserial primary key, v text); create table dst (id bigint, v text)";
        database.execute(make).await.expect("tables");
        let proxy = proxy_to(&database.url()).await;
        let dir = tempfile::tempdir().expect("a folder");
        // Unencrypted, so that the proxy can read what goes by.
        let broken = format!("{}?sslmode=disable", proxy.url(&database.url()));
        let yaml = format!(
            "name: growing\nconnections:\n  s: {{type: postgresql, url: \"{}\"}}\n  p: {{type: postgresql, url: \"{broken}\"}}\n  d: {{type: sqlite, path: ./d.db}}\nnodes:\n  a: {{extract: {{from: s, asset: public.src, sync: incremental, cursor: id}}}}\n  first: {{load: {{input: a, to: p, asset: public.dst, write: append}}}}\n  second: {{load: {{input: a, to: d, asset: dst, write: append}}}}\n",
            database.url()
        );
        write(dir.path(), "pipeline.yaml", &yaml);
        Shop { dir, database, proxy }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn run(&self, broken: Option<Lost>) -> Option<synqx_model::Error> {
        let mut options = small(self.path());
        if let Some(lost) = broken {
            options.probe = Breaks::at_the_commit(&self.proxy, lost) as Arc<dyn Probe>;
        }
        let yaml = crate::setting::read(self.path(), "pipeline.yaml");
        let outcome = engine().run(&spec(&yaml), &options).await;
        self.proxy.heal();
        outcome.error
    }

    async fn grow(&self, rows: usize) {
        let more = format!("insert into src (v) select 'value ' || g from generate_series(1, {rows}) g");
        self.database.execute(&more).await.expect("rows");
    }

    /// Ids at PostgreSQL in order.
    async fn ids(&self, table: &str) -> Vec<i64> {
        let client = self.database.client().await.expect("a client");
        let rows = client
            .query(&format!("select id from {table} order by 1"), &[])
            .await;
        rows.expect("rows").iter().map(|row| row.get(0)).collect()
    }

    /// What the destinations hold: their position (0 for none), and their ids in order.
    async fn held(&self) -> [(i64, Vec<i64>); 2] {
        let client = self.database.client().await.expect("a client");
        let stored = "select to_regclass('public._synqx_commit') is not null";
        let position = match client.query_one(stored, &[]).await.expect("a row").get(0) {
            true => {
                let stored = client.query("select position from _synqx_commit", &[]).await;
                let stored = stored.expect("a position");
                stored.first().and_then(|row| row.get(0))
            }
            false => None,
        };
        let first = (last_read(position), self.ids("dst").await);
        let db = rusqlite::Connection::open(self.path().join("d.db")).expect("a database");
        let column = |query: &str| -> Vec<i64> {
            // A table that no run has made yet has no rows.
            let Ok(mut statement) = db.prepare(query) else {
                return Vec::new();
            };
            let rows = statement.query_map([], |row| row.get(0)).expect("rows");
            rows.map(|row| row.expect("an id")).collect()
        };
        let stored = db.query_row("select position from _synqx_commit", [], |row| row.get(0));
        let second = (
            last_read(stored.ok().flatten()),
            column("select id from dst order by 1"),
        );
        [first, second]
    }
}

/// The cursor of a stored position; 0 when there is none.
fn last_read(position: Option<String>) -> i64 {
    let position = position.map(|text| Position::from_text(&text).expect("a position"));
    let read = position.and_then(|position| position.0.get("a")?.cursor.clone());
    read.map_or(0, |cursor| cursor.value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_the_position_is_never_ahead_of_the_rows() {
    for seed in SEEDS {
        let started = std::time::Instant::now();
        let (shop, mut random) = (Shop::new().await, Random(seed));
        let mut disturbed = 0;
        for number in 0..EVENTS {
            shop.grow(1 + random.below(300)).await;
            let event = Event::at(&mut random);
            let which = format!("seed {seed}, event {number}, {event:?}");
            disturbed += match &event {
                Event::Undisturbed => usize::from(shop.run(None).await.is_some()),
                Event::Killed(cell) => usize::from(killed_at(shop.path(), Job::Run, *cell)),
                Event::Broken(lost) => usize::from(shop.run(Some(*lost)).await.is_some()),
            };
            let source = shop.ids("src").await;
            for (load, (position, ids)) in shop.held().await.into_iter().enumerate() {
                let covered: Vec<i64> = source.iter().copied().filter(|id| *id <= position).collect();
                assert!(
                    ids == covered,
                    "{which}: load {load} has {} rows up to {:?} and its position is {position}",
                    ids.len(),
                    ids.last()
                );
            }
        }
        // The first finishes what is open, the second reads what came since.
        for _ in 0..2 {
            assert_eq!(shop.run(None).await, None, "seed {seed}");
        }
        let source = shop.ids("src").await;
        for (_, ids) in shop.held().await {
            assert!(
                ids == source,
                "seed {seed}: {} of {} rows",
                ids.len(),
                source.len()
            );
        }
        assert!(
            disturbed > EVENTS / 4,
            "seed {seed}: only {disturbed} events did harm"
        );
        println!(
            "seed {seed}: {disturbed} of {EVENTS} runs disturbed, {} rows, {:.0} s",
            source.len(),
            started.elapsed().as_secs_f64()
        );
        shop.database.discard().await.expect("dropped");
    }
}
