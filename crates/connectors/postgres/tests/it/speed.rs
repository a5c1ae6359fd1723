//! temporary
use crate::database::*;
use futures::StreamExt;
use synqx_sdk::{Dataset, Role};
#[tokio::test(flavor = "multi_thread")]
async fn speed() {
    let db = Database::new("postgres15").await;
    db.run("CREATE TABLE t (id int8, n int4, price numeric(12,2), at timestamptz, name text, x float8); INSERT INTO t SELECT i, i % 1000, i / 7.0, now(), 'name ' || i, random() FROM generate_series(1, 2000000) i; VACUUM ANALYZE t").await;
    let c = db.open(Role::Source);
    let mut s = scan(&*c, Dataset::asset("t")).await.expect("d");
    s.partition = synqx_model::spec::PartitionBy::None;
    let source = c.source().expect("s");
    let plan = source.plan(&s).await.expect("p");
    for _ in 0..2 {
        let started = std::time::Instant::now();
        let reader = source.open(&s, &plan).await.expect("o");
        let mut stream = reader.read(0).await.expect("r");
        let (mut n, mut batches) = (0, Vec::new());
        while let Some(b) = stream.next().await {
            let b = b.expect("b");
            n += b.num_rows();
            batches.push(b);
        }
        eprintln!(
            "READ {n} rows, {:.0} rows/s, {} batches",
            n as f64 / started.elapsed().as_secs_f64(),
            batches.len()
        );
        let started = std::time::Instant::now();
        let mut t = target("w", synqx_model::spec::WriteMode::Append, s.table.schema.clone());
        t.replace.truncate = false;
        let r = write(&*db.open(Role::Destination), &t, &batches)
            .await
            .expect("w");
        eprintln!(
            "WRITE {} rows, {:.0} rows/s",
            r.inserted,
            r.inserted as f64 / started.elapsed().as_secs_f64()
        );
    }
    db.close().await;
}
