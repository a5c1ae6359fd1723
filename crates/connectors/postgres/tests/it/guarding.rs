//! Rows of other tables, rows that triggers swallow, columns that do not arrive: nothing is lost or doubled in silence.
//!
//! Every refusal is followed by a look at what is stored, which must be what was there before.

use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error};
use synqx_sdk::{Connection, OrderBy, Preparation, Role, Target};

use crate::database::{Database, SERVERS, target, write};
use crate::writing::batch;

async fn prepare(connection: &dyn Connection, target: &Target) -> Result<Preparation, Error> {
    let destination = connection.destination().expect("one");
    destination.prepare(target, true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_does_not_reach_into_other_tables() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        db.run("CREATE TABLE t (id int PRIMARY KEY, name text, up int REFERENCES t ON DELETE CASCADE DEFERRABLE); INSERT INTO t VALUES (1, 'a', 1)")
            .await;
        let rows = batch(&[1, 2], &[Some("b"), None]);
        let mut goal = target("t", WriteMode::Replace, rows.schema());
        goal.policy = SchemaPolicy::Ignore;
        for action in ["CASCADE", "SET NULL", "SET DEFAULT"] {
            db.run(&format!("CREATE TABLE child (t int DEFAULT 1 CONSTRAINT points REFERENCES t (id) ON DELETE {action}); INSERT INTO child VALUES (1)"))
                .await;
            let error = prepare(&*connection, &goal).await.expect_err(action);
            assert_eq!(error.code(), Code::E0310, "{error:?}");
            let said = format!("{error:?}");
            assert!(
                said.contains("`points` of table `public.child`")
                    && said.contains(action)
                    && said.contains("upsert"),
                "{said}"
            );
            let error = write(&*connection, &goal, std::slice::from_ref(&rows))
                .await
                .expect_err(action);
            assert_eq!(error.code(), Code::E0310);
            assert_eq!(
                db.text("SELECT t::text || (SELECT name FROM t) FROM child").await,
                "1a"
            );
            let mut upsert = target("t", WriteMode::Upsert, rows.schema());
            (upsert.key, upsert.policy) = (vec!["id".into()], SchemaPolicy::Ignore);
            prepare(&*connection, &upsert)
                .await
                .expect("an upsert deletes nothing");
            db.run("DROP TABLE child").await;
        }
        // Its own rows may cascade: they all go anyway.
        write(&*connection, &goal, &[rows]).await.expect("replaces");
        assert_eq!(db.count("t").await, 2);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_made_during_the_load_is_seen_under_the_lock() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'); CREATE VIEW v AS SELECT * FROM t")
        .await;
    let rows = batch(&[2], &[None]);
    let mut load = crate::database::begin(&*connection, &target("t", WriteMode::Replace, rows.schema()))
        .await
        .expect("begins");
    let mut lane = load.writer().await.expect("a lane");
    lane.write(rows).await.expect("writes");
    lane.finish().await.expect("finishes");
    db.run("CREATE TABLE child (t int REFERENCES t (id) ON DELETE CASCADE); INSERT INTO child VALUES (1)")
        .await;
    let error = load
        .commit(&synqx_model::Position::default())
        .await
        .expect_err("a new foreign key");
    assert_eq!(error.code(), Code::E0310);
    assert_eq!(
        (db.count("t WHERE id = 1").await, db.count("child").await),
        (1, 1)
    );
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_under_a_foreign_key_works_at_the_end_or_changes_nothing() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        let kept = batch(&[1, 2], &[Some("new"), None]);
        let gone = batch(&[2], &[None]);
        let goal = target("t", WriteMode::Replace, kept.schema());
        db.run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'old'); CREATE TABLE child (t int)")
            .await;
        for (constraint, allowed) in [
            ("REFERENCES t (id) DEFERRABLE", true),
            ("REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED", true),
            ("REFERENCES t (id)", false),
            ("REFERENCES t (id) ON DELETE RESTRICT", false),
        ] {
            db.run(&format!("DROP TABLE child; DELETE FROM t; INSERT INTO t VALUES (1, 'old'); CREATE TABLE child (t int {constraint}); INSERT INTO child VALUES (1)"))
                .await;
            let outcome = write(&*connection, &goal, std::slice::from_ref(&kept)).await;
            if allowed {
                let receipt = outcome.expect(constraint);
                assert_eq!((receipt.inserted, receipt.deleted), (2, 1), "{constraint}");
                assert_eq!(db.text("SELECT name FROM t WHERE id = 1").await, "new");
            } else {
                let error = outcome.expect_err(constraint);
                assert_eq!(error.code(), Code::E0307, "{error:?}");
                assert!(
                    error.hint().is_some_and(|h| h.contains("DEFERRABLE")),
                    "{error:?}"
                );
            }
            let before = db.text("SELECT string_agg(t::text, ',' ORDER BY t) FROM t").await;
            let error = write(&*connection, &goal, std::slice::from_ref(&gone))
                .await
                .expect_err("an orphan");
            assert_eq!(error.code(), Code::E0307, "{error:?}");
            assert_eq!(
                db.text("SELECT string_agg(t::text, ',' ORDER BY t) FROM t").await,
                before
            );
        }
        let mut truncating = goal.clone();
        truncating.replace.truncate = true;
        let error = prepare(&*connection, &truncating).await.expect_err("referred to");
        assert_eq!(error.code(), Code::E0310);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_trigger_or_rule_swallows_are_not_counted_as_written() {
    let db = Database::new("postgres18").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$; \
        CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
        .await;
    let rows = batch(&[1, 2, 3], &[Some("a"), Some("b"), Some("c")]);
    for guard in [
        "CREATE TRIGGER g BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION swallow()",
        "CREATE RULE g AS ON INSERT TO t WHERE NEW.id = 2 DO INSTEAD NOTHING",
        "CREATE TRIGGER g BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION stay()",
    ] {
        for (mode, lanes, key) in [
            (WriteMode::Append, 1, "PRIMARY KEY"),
            (WriteMode::Append, 2, "PRIMARY KEY"),
            (WriteMode::Replace, 1, "PRIMARY KEY"),
            (WriteMode::Upsert, 1, "PRIMARY KEY"),
            (WriteMode::Upsert, 1, ""),
        ] {
            let (rule, stays) = (guard.contains("RULE"), guard.contains("DELETE"));
            // A copy does not fire rules, and ON CONFLICT is not possible with them.
            let applies = match mode {
                WriteMode::Append => !stays && (!rule || lanes == 2),
                WriteMode::Upsert => !stays && !rule,
                _ => true,
            };
            if !applies {
                continue;
            }
            let kept = if mode == WriteMode::Append { "9" } else { "2" };
            db.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id int {key}, name text); INSERT INTO t VALUES ({kept}, 'old'); {guard}"))
                .await;
            let mut goal = target("t", mode, rows.schema());
            (goal.lanes, goal.key) = (Some(lanes), vec!["id".into()]);
            let error = write(&*connection, &goal, std::slice::from_ref(&rows))
                .await
                .expect_err("swallowed");
            assert_eq!(error.code(), Code::E0505, "{guard} {mode:?} {error:?}");
            assert_eq!(
                db.text("SELECT string_agg(t::text, ' ') FROM t").await,
                format!("({kept},old)"),
                "{guard} {mode:?}"
            );
        }
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_through_a_harmless_trigger_is_counted() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$; \
        CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz DEFAULT now()); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'x'); \
        CREATE TRIGGER g BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp()")
        .await;
    let rows = batch(&[1, 2, 3, 4], &[Some("a"), Some("B"), Some("c"), Some("d")]);
    let mut goal = target("t", WriteMode::Upsert, rows.schema());
    (goal.key, goal.order_by) = (vec!["id".into()], vec![OrderBy::parse("name")]);
    let receipt = write(&*connection, &goal, &[rows]).await.expect("upserts");
    // The database's collation says whether `B` is older than `b`.
    assert_eq!((receipt.inserted, receipt.unchanged), (1, 1), "{receipt:?}");
    assert_eq!(receipt.updated + receipt.superseded, 2, "{receipt:?}");
    assert_eq!(db.text("SELECT name FROM t WHERE id = 3").await, "x");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_a_load_that_lacks_columns_of_the_target() {
    let db = Database::new("postgres18").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE bare (id int PRIMARY KEY, name text, note text); INSERT INTO bare VALUES (1, 'a', 'kept'); \
        CREATE TABLE full_of (id int PRIMARY KEY, name text, at timestamptz DEFAULT now(), n int GENERATED ALWAYS AS IDENTITY, up text GENERATED ALWAYS AS (upper(name)) STORED)")
        .await;
    let rows = batch(&[1], &[Some("b")]);
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
        for policy in [SchemaPolicy::Strict, SchemaPolicy::Evolve, SchemaPolicy::Ignore] {
            let mut goal = target("bare", mode, rows.schema());
            (goal.key, goal.policy) = (vec!["id".into()], policy);
            let strict = policy == SchemaPolicy::Strict;
            match prepare(&*connection, &goal).await {
                Err(error) => {
                    assert!(strict && error.code() == Code::E0405, "{mode:?} {error:?}");
                    assert!(error.detail().is_some_and(|d| d.contains("`note`")), "{error:?}");
                }
                Ok(prepared) => {
                    let told = prepared
                        .notes
                        .iter()
                        .any(|n| n.contains("`note` does not arrive"));
                    assert!(!strict && told, "{mode:?} {:?}", prepared.notes);
                }
            }
            goal.asset = "full_of".into();
            let refused = strict && mode == WriteMode::Replace;
            match prepare(&*connection, &goal).await {
                Err(error) => {
                    assert!(refused && error.code() == Code::E0405, "{mode:?} {error:?}");
                    let detail = error.detail().unwrap_or_default();
                    assert!(detail.contains("`at`") && !detail.contains("`n`"), "{detail}");
                }
                Ok(prepared) => {
                    let told = |name: &str| {
                        prepared
                            .notes
                            .iter()
                            .any(|n| n.contains(&format!("`{name}` does not")))
                    };
                    assert!(
                        !refused && told("at") && told("n") && !told("up"),
                        "{:?}",
                        prepared.notes
                    );
                }
            }
        }
    }
    assert_eq!(db.text("SELECT note FROM bare").await, "kept");
    db.close().await;
}
