//! `synqx init`: a pipeline that runs, to start from. Files that exist are never touched.
//!
//! The example reads and writes files, so it needs no server; the tests of this crate run it.

use std::path::Path;

use synqx_model::{Code, Error, Result, ResultExt};

use crate::args::InitArgs;
use crate::document;
use crate::session::Session;

const PIPELINE: &str = r#"# A pipeline: what is read, what happens to the rows, where they go.
#   synqx plan      shows what a run will do, and changes nothing
#   synqx run       runs it
name: orders_by_country

connections:
  input:  { type: local_file, path: ./input }
  output: { type: local_file, path: ./output }

nodes:
  orders:    { extract: { from: input, asset: orders.csv } }
  customers: { extract: { from: input, asset: customers.csv } }

  # Rows that fail a check are set aside in a file of their own, and counted.
  valid:
    validate:
      input: orders
      checks:
        - { column: amount, check: range, min: 0, on_fail: quarantine }

  # Any SELECT; other nodes are its tables.
  by_country:
    sql: |
      select c.country, count(*) as orders, sum(o.amount) as amount
      from valid o join customers c using (customer_id)
      group by c.country
      order by c.country

  out: { load: { input: by_country, to: output, asset: orders_by_country.csv, write: replace } }
"#;

const ORDERS: &str = "\
order_id,customer_id,amount,ordered_at
1,10,19.90,2026-01-03T09:15:00
2,11,250.00,2026-01-03T11:02:00
3,10,7.50,2026-01-04T08:40:00
4,12,-3.00,2026-01-04T10:12:00
5,13,99.99,2026-01-05T16:30:00
6,11,12.00,2026-01-06T12:00:00
";

const CUSTOMERS: &str = "\
customer_id,name,country
10,Ada,GB
11,Grace,US
12,Edsger,NL
13,Barbara,US
";

/// Writes the example.
pub(crate) fn init(args: &InitArgs, session: &Session) -> Result<u8> {
    let files = [
        ("pipeline.yaml", PIPELINE),
        ("input/orders.csv", ORDERS),
        ("input/customers.csv", CUSTOMERS),
    ];
    let there: Vec<&str> = files
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| args.dir.join(name).exists())
        .collect();
    if !there.is_empty() {
        return Err(Error::new(
            Code::E0114,
            format!("`{}` exists already", args.dir.join(there[0]).display()),
        )
        .with_detail("Nothing was written.")
        .with_hint("name another folder: `synqx init my_pipeline`"));
    }
    for (name, text) in files {
        let path = args.dir.join(name);
        make_folder(path.parent().unwrap_or(&args.dir))?;
        document::create(&path, text)?;
    }
    let paint = session.terminal.out_paint;
    let mut out = String::new();
    for (name, _) in files {
        out.push_str(&format!(
            "{} {}\n",
            paint.good("wrote"),
            args.dir.join(name).display()
        ));
    }
    out.push_str("\nNext:\n");
    if args.dir != Path::new(".") {
        out.push_str(&format!(
            "  {}\n",
            paint.name(&format!("cd {}", args.dir.display()))
        ));
    }
    for (command, what) in [
        ("synqx plan", "what a run will do"),
        ("synqx run", "run it"),
        ("synqx preview output/orders_by_country.csv", "look at the result"),
    ] {
        out.push_str(&format!(
            "  {}  {}\n",
            paint.name(&format!("{command:<43}")),
            paint.dim(what)
        ));
    }
    session.terminal.out(&out);
    Ok(0)
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .coded(Code::E0114, || {
            format!("cannot make the folder `{}`", folder.display())
        })
        .map_err(|error| error.with_hint("name a folder that can be written"))
}
