//! A terminal that gives keys as they are pressed.

/// While it lives, the terminal gives keys at once and does not show them; then it is as it was before.
pub struct RawTerminal(#[cfg(unix)] libc::termios);

#[cfg(unix)]
impl RawTerminal {
    /// `None` when the standard input is no terminal.
    pub fn new() -> Option<Self> {
        use std::io::IsTerminal;
        if !std::io::stdin().is_terminal() {
            return None;
        }
        // SAFETY: termios is plain data for which zeros are a valid value; tcgetattr fills it, tcsetattr reads it.
        unsafe {
            let mut old: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(0, &mut old) != 0 {
                return None;
            }
            let mut new = old;
            new.c_lflag &= !(libc::ICANON | libc::ECHO);
            libc::tcsetattr(0, libc::TCSANOW, &new);
            Some(Self(old))
        }
    }
}

#[cfg(unix)]
impl Drop for RawTerminal {
    fn drop(&mut self) {
        // SAFETY: the settings were read from this terminal.
        unsafe { libc::tcsetattr(0, libc::TCSANOW, &self.0) };
    }
}

#[cfg(not(unix))]
impl RawTerminal {
    /// Terminals are left as they are here: keys come line by line.
    pub fn new() -> Option<Self> {
        None
    }
}
