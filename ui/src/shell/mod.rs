//! What stands around every screen: bars, rail, tray, toasts, sheets.

pub mod bars;
pub mod compare_sheets;
pub mod sheets;
pub mod stop_bar;
pub mod toasts;
pub mod transport_bar;
