//! The page of each code, as `synqx explain` prints it.
//!
//! The pages live in `docs/errors/` where they can be read and edited as prose; they are compiled in, so the
//! binary explains its errors with nothing else installed. A test demands one page per code.

use crate::Code;

macro_rules! pages {
    ($($code:ident),+ $(,)?) => {
        /// The Markdown page of a code.
        pub fn page(code: Code) -> &'static str {
            match code {
                $(Code::$code => include_str!(concat!("../../../docs/errors/", stringify!($code), ".md"))),+
            }
        }
    };
}

pages! {
    E0101, E0102, E0103, E0104, E0105, E0106, E0107, E0108, E0109, E0110, E0111, E0112, E0113, E0114, E0115, E0116, E0117,
    E0201, E0202, E0203, E0204, E0205, E0206, E0207, E0208, E0209, E0210, E0211, E0212, E0213, E0214, E0215,
    E0301, E0302, E0303, E0304, E0305, E0306, E0307, E0308, E0309, E0310, E0311, E0312, E0313, E0314, E0315, E0316,
    E0317, E0318, E0401, E0402, E0403, E0404, E0405, E0406, E0407, E0408, E0409, E0410, E0501, E0502, E0503, E0504, E0505,
    E0506, E0507, E0601, E0602, E0603, E0604, E0701, E0702, E0801, E0802, E0803, E0804, E0805, E0806, E1001, E1002, E9901,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_worth_reading() {
        for code in Code::ALL {
            let page = page(*code);
            assert!(
                page.starts_with(&format!("# {code}: {}", code.title())),
                "{code} begins with another title"
            );
            for part in ["## What happened", "## What to do"] {
                assert!(page.contains(part), "{code} lacks `{part}`");
            }
            assert!(page.len() > 300, "{code} says too little");
        }
    }
}
