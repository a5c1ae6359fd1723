//! Colours, few and with one meaning each: green is well, yellow asks for attention, red is an error, cyan is
//! a name.
//!
//! A `Paint` is on or off for one stream. Off, every method returns the text unchanged, so renderers need no
//! branches.

/// Paints texts, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// With colours.
    pub(crate) const fn on() -> Self {
        Paint(true)
    }

    /// Without.
    pub(crate) const fn off() -> Self {
        Paint(false)
    }

    /// With colours if so.
    pub(crate) const fn when(on: bool) -> Self {
        Paint(on)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub(crate) fn name(self, text: &str) -> String {
        self.wrap("36", text)
    }
}
