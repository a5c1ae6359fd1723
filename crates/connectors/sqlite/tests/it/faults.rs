//! A process killed before or after any effect, restarted: the undisturbed result, and nothing left behind.
//!
//! The engine's crash matrix kills real processes; here a probe fails at each effect, which is quicker and finer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error};
use synqx_sdk::{Effect, FenceClaim, Moment, OrderBy, Probe, Role, Target};

use crate::house::{House, begin, load, position, target};
use crate::modes::people;

/// Fails at the nth time an effect is reached.
#[derive(Debug)]
struct Fault {
    effect: Effect,
    moment: Moment,
    left: AtomicUsize,
}

impl Probe for Fault {
    fn reach(&self, effect: Effect, moment: Moment) -> synqx_model::Result<()> {
        if (effect, moment) == (self.effect, self.moment) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(Error::new(Code::E0317, "the fault of this test"));
        }
        Ok(())
    }
}

fn fault(effect: Effect, moment: Moment, nth: usize) -> Arc<Fault> {
    Arc::new(Fault {
        effect,
        moment,
        left: AtomicUsize::new(nth),
    })
}

fn goals() -> Vec<(&'static str, Target)> {
    let schema = people(&[]).schema();
    let plain = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    let viewed = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'a'); CREATE VIEW v AS SELECT * FROM t";
    let keyless = "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (4, 'b')";
    let mut upsert = target("t", WriteMode::Upsert, schema.clone());
    (upsert.key, upsert.order_by) = (vec!["id".into()], vec![OrderBy::parse("name")]);
    let mut all = vec![
        ("", target("t", WriteMode::Append, schema.clone())),
        (
            "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a')",
            target("t", WriteMode::Append, schema.clone()),
        ),
        ("", target("t", WriteMode::Replace, schema.clone())),
        (plain, target("t", WriteMode::Replace, schema.clone())),
        (viewed, target("t", WriteMode::Replace, schema)),
        ("", upsert.clone()),
        (keyless, upsert.clone()),
    ];
    all.push((plain, upsert));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_any_fault_gives_the_undisturbed_result() {
    let batches = [
        people(&[(4, "x"), (5, "y")]),
        people(&[]),
        people(&[(6, "z"), (7, "new")]),
    ];
    let effects = [
        Effect::Fence,
        Effect::Sweep,
        Effect::Stage,
        Effect::Write,
        Effect::Seal,
        Effect::Publish,
    ];
    for (setup, goal) in goals() {
        let calm = House::new();
        calm.sql(setup);
        load(calm.open(Role::Destination).as_ref(), &goal, &batches)
            .await
            .expect("undisturbed");
        let expected = calm.rows("SELECT * FROM t ORDER BY 1, 2");
        for effect in effects {
            for moment in [Moment::Before, Moment::After] {
                for nth in 1..=if effect == Effect::Write { 2 } else { 1 } {
                    let house = House::new();
                    house.sql(setup);
                    let before = house.rows("SELECT name FROM sqlite_schema WHERE name = 't'");
                    let broken = house.open_with(Role::Destination, fault(effect, moment, nth));
                    let error = load(broken.as_ref(), &goal, &batches)
                        .await
                        .expect_err("the fault");
                    assert_eq!(error.code(), Code::E0317);
                    if (effect, moment) != (Effect::Publish, Moment::After) {
                        assert_eq!(
                            house.rows("SELECT name FROM sqlite_schema WHERE name = 't'"),
                            before
                        );
                    }
                    let whole = house.open(Role::Destination);
                    let receipt = load(whole.as_ref(), &goal, &batches).await.expect("restarts");
                    assert_eq!(
                        receipt.is_none(),
                        (effect, moment) == (Effect::Publish, Moment::After)
                    );
                    let cell = format!("{} {effect:?} {moment:?} {nth} on `{setup}`", goal.mode.as_str());
                    assert_eq!(house.rows("SELECT * FROM t ORDER BY 1, 2"), expected, "{cell}");
                    assert!(house.staging_tables().is_empty(), "{cell}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_fence_cannot_write_or_commit() {
    let house = House::new();
    let (to, rows) = (house.open(Role::Destination), people(&[(1, "a")]));
    for write_after in [false, true] {
        let (old, new) = (
            target("t", WriteMode::Replace, rows.schema()),
            target("t", WriteMode::Replace, rows.schema()),
        );
        let mut first = begin(to.as_ref(), &old).await.expect("begins");
        let mut lane = first.writer().await.expect("a lane");
        lane.write(rows.clone()).await.expect("writes");
        let second = begin(to.as_ref(), &new).await.expect("takes over");
        assert!(second.fence() > first.fence());
        if write_after {
            assert_eq!(
                lane.write(rows.clone()).await.expect_err("late").code(),
                Code::E0501
            );
        }
        lane.finish().await.expect("finishes");
        let error = first.commit(&position("old")).await.expect_err("late");
        assert_eq!(error.code(), Code::E0501);
        second.commit(&position("new")).await.expect("commits");
        assert!(
            house.rows("SELECT * FROM t").is_empty(),
            "the second run's empty table"
        );
        assert!(house.staging_tables().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_of_agents_only_rise() {
    let house = House::new();
    let to = house.open(Role::Destination);
    let goal = target("t", WriteMode::Append, people(&[]).schema());
    let destination = to.destination().expect("one");
    let prepared = destination.prepare(&goal, false).await.expect("prepares");
    let load = destination
        .begin(&goal, &prepared, FenceClaim::Exact(7))
        .await
        .expect("begins");
    assert_eq!(load.fence(), 7);
    let refused = destination
        .begin(&goal, &prepared, FenceClaim::Exact(6))
        .await
        .err()
        .map(|e| e.code());
    assert_eq!(refused, Some(Code::E0504));
    assert_eq!(
        destination
            .begin(&goal, &prepared, FenceClaim::Next)
            .await
            .expect("begins")
            .fence(),
        8
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_known_at_the_next_begin() {
    let house = House::new();
    let rows = people(&[(1, "a")]);
    let goal = target("t", WriteMode::Append, rows.schema());
    let broken = house.open_with(Role::Destination, fault(Effect::Publish, Moment::After, 1));
    assert_eq!(
        load(broken.as_ref(), &goal, &[rows])
            .await
            .expect_err("lost")
            .code(),
        Code::E0317
    );
    let again = begin(house.open(Role::Destination).as_ref(), &goal)
        .await
        .expect("begins");
    let committed = again.committed().expect("stored");
    assert_eq!(
        (committed.run, &committed.position, committed.spec_hash.as_str()),
        (goal.run, &position("s"), "hash")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_no_staging_behind() {
    let house = House::new();
    let rows = people(&[(1, "a")]);
    let to = house.open(Role::Destination);
    let mut begun = begin(to.as_ref(), &target("t", WriteMode::Append, rows.schema()))
        .await
        .expect("begins");
    let mut lane = begun.writer().await.expect("a lane");
    lane.write(rows).await.expect("writes");
    assert_eq!(house.staging_tables().len(), 1);
    drop(lane);
    begun.abort().await.expect("aborts");
    assert!(house.staging_tables().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_waited_for_and_then_named() {
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER, name TEXT)");
    let other = house.raw();
    other.execute_batch("BEGIN IMMEDIATE").expect("locks");
    let to = house.open(Role::Destination);
    let rows = people(&[(1, "a")]);
    let goal = target("t", WriteMode::Append, rows.schema());
    let error = load(to.as_ref(), &goal, std::slice::from_ref(&rows))
        .await
        .expect_err("locked");
    assert_eq!(error.code(), Code::E0312, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("busy_timeout")));
    other.execute_batch("ROLLBACK").expect("unlocks");
    load(to.as_ref(), &goal, &[rows]).await.expect("loads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_changed_after_planning_is_refused() {
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER, name TEXT)");
    let to = house.open(Role::Destination);
    let goal = target("t", WriteMode::Append, people(&[]).schema());
    let destination = to.destination().expect("one");
    let prepared = destination.prepare(&goal, false).await.expect("prepares");
    house.sql("CREATE INDEX i ON t (id)");
    assert_eq!(
        destination
            .begin(&goal, &prepared, FenceClaim::Next)
            .await
            .err()
            .map(|e| e.code()),
        Some(Code::E0311)
    );
    let begun = begin(to.as_ref(), &goal).await.expect("begins");
    house.sql("DROP TABLE t; CREATE TABLE t (other)");
    assert_eq!(
        begun.commit(&position("s")).await.expect_err("changed").code(),
        Code::E0311
    );
}
