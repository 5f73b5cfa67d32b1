//! Cameras by Video4Linux2, by the system's own calls: a few buffers that are shared with the driver, of which the newest
//! is taken. Packed YUV 4:2:2 (`YUYV`) and motion JPEG are understood, which every USB camera has one of.
//!
//! Source: the kernel's user-space API, <https://docs.kernel.org/userspace-api/media/v4l/v4l2.html>, and
//! `linux/videodev2.h`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Frame;

/// Buffers that are shared with the driver.
const BUFFERS: u32 = 4;
const VIDEO_CAPTURE: u32 = 1;
const MEMORY_MMAP: u32 = 1;
const CAN_CAPTURE: u32 = 0x1;
const CAN_STREAM: u32 = 0x0400_0000;
const DEVICE_CAPS: u32 = 0x8000_0000;
/// The driver says that a buffer's picture is damaged.
const BUFFER_ERROR: u32 = 0x40;
const YUYV: u32 = u32::from_le_bytes(*b"YUYV");
const MJPG: u32 = u32::from_le_bytes(*b"MJPG");

/// Numbers of the calls: direction, size of the structure, `V`, number.
mod call {
    pub const QUERYCAP: u64 = 0x8068_5600;
    pub const S_FMT: u64 = 0xC0D0_5605;
    pub const REQBUFS: u64 = 0xC014_5608;
    pub const QUERYBUF: u64 = 0xC058_5609;
    pub const QBUF: u64 = 0xC058_560F;
    pub const DQBUF: u64 = 0xC058_5611;
    pub const STREAMON: u64 = 0x4004_5612;
    pub const S_PARM: u64 = 0xC0CC_5616;
}

#[repr(C)]
#[allow(dead_code)] // The kernel's layout.
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// The part of `v4l2_format` for single pictures; the union is 200 bytes long and begins at 8.
#[repr(C)]
#[allow(dead_code)] // The kernel's layout.
struct Format {
    kind: u32,
    padding: u32,
    width: u32,
    height: u32,
    pixels: u32,
    field: u32,
    stride: u32,
    size: u32,
    rest: [u32; 44],
}

#[repr(C)]
#[allow(dead_code)] // The kernel's layout.
struct Parameters {
    kind: u32,
    capability: u32,
    mode: u32,
    numerator: u32,
    denominator: u32,
    rest: [u32; 46],
}

#[repr(C)]
#[allow(dead_code)] // The kernel's layout.
struct Request {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

#[repr(C)]
#[allow(dead_code)] // The kernel's layout.
struct Buffer {
    index: u32,
    kind: u32,
    used: u32,
    flags: u32,
    field: u32,
    padding: u32,
    timestamp: [u64; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: u64,
    length: u32,
    reserved: [u32; 3],
}

/// Memory that is shared with the driver.
struct Map {
    at: *mut libc::c_void,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and can be used from whichever thread owns it.
unsafe impl Send for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `Camera::map` with this address and length, and unmapped nowhere else.
        unsafe { libc::munmap(self.at, self.length) };
    }
}

/// An open camera that streams.
pub(super) struct Camera {
    fd: OwnedFd,
    maps: Vec<Map>,
    width: usize,
    height: usize,
    stride: usize,
    pixels: u32,
}

/// Calls the driver with a structure of the size that the call's number names.
fn call<T>(fd: RawFd, number: u64, with: &mut T) -> io::Result<()> {
    debug_assert_eq!(number >> 16 & 0x3fff, std::mem::size_of::<T>() as u64);
    loop {
        // SAFETY: `with` is a live structure of the size that is part of the number, in the kernel's layout.
        if unsafe { libc::ioctl(fd, number as _, std::ptr::from_mut(with)) } == 0 {
            return Ok(());
        }
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
}

/// A structure of zeros.
fn zeros<T>() -> T {
    // SAFETY: used for the plain structures above only, for which zeros are a valid value.
    unsafe { std::mem::zeroed() }
}

fn unfit(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why.to_owned())
}

impl Camera {
    /// Opens a camera and starts its stream. The driver chooses the nearest size and rate that it has.
    pub fn open(path: &Path, width: u32, height: u32, fps: f64) -> io::Result<Self> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: a NUL-terminated path that lives through the call; the descriptor is owned at once.
        let fd = unsafe {
            let fd = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let raw = fd.as_raw_fd();
        let mut has: Capability = zeros();
        call(raw, call::QUERYCAP, &mut has)?;
        let caps = if has.capabilities & DEVICE_CAPS != 0 { has.device_caps } else { has.capabilities };
        if caps & CAN_CAPTURE == 0 || caps & CAN_STREAM == 0 {
            return Err(unfit("this device gives no stream of pictures"));
        }
        let mut format: Format = zeros();
        for pixels in [YUYV, MJPG] {
            format = Format { kind: VIDEO_CAPTURE, width, height, pixels, ..zeros() };
            call(raw, call::S_FMT, &mut format)?;
            if format.pixels == pixels {
                break;
            }
        }
        if !matches!(format.pixels, YUYV | MJPG) {
            return Err(unfit("this camera has neither YUYV nor motion JPEG"));
        }
        let denominator = fps.clamp(1.0, 1000.0).round() as u32;
        let mut rate = Parameters { kind: VIDEO_CAPTURE, numerator: 1, denominator, ..zeros() };
        // Not every driver lets its rate be chosen.
        let _ = call(raw, call::S_PARM, &mut rate);
        let mut this = Self {
            fd,
            maps: Vec::new(),
            width: format.width as usize,
            height: format.height as usize,
            stride: format.stride as usize,
            pixels: format.pixels,
        };
        this.start()?;
        Ok(this)
    }

    fn start(&mut self) -> io::Result<()> {
        let raw = self.fd.as_raw_fd();
        let mut request = Request { count: BUFFERS, kind: VIDEO_CAPTURE, memory: MEMORY_MMAP, ..zeros() };
        call(raw, call::REQBUFS, &mut request)?;
        for index in 0..request.count {
            let mut buffer = Buffer { index, kind: VIDEO_CAPTURE, memory: MEMORY_MMAP, ..zeros() };
            call(raw, call::QUERYBUF, &mut buffer)?;
            self.maps.push(self.map(&buffer)?);
            call(raw, call::QBUF, &mut buffer)?;
        }
        let mut kind = VIDEO_CAPTURE;
        call(raw, call::STREAMON, &mut kind)
    }

    fn map(&self, buffer: &Buffer) -> io::Result<Map> {
        let length = buffer.length as usize;
        // The kernel writes a number of 32 bits into the union.
        let offset = libc::off_t::from(buffer.offset as u32);
        // SAFETY: a new mapping of the driver's own buffer, at an address that the kernel chooses.
        let at = unsafe {
            let (flags, access) = (libc::MAP_SHARED, libc::PROT_READ | libc::PROT_WRITE);
            libc::mmap(std::ptr::null_mut(), length, access, flags, self.fd.as_raw_fd(), offset)
        };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Map { at, length }) }
    }

    /// Whether a picture waits; an error when the camera is gone.
    fn waits(&self, time: Duration) -> io::Result<bool> {
        let mut fd = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let ms = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one local pollfd that lives through the call.
        let n = unsafe { libc::poll(&mut fd, 1, ms) };
        if fd.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the camera is gone"));
        }
        Ok(n > 0)
    }

    /// The newest picture, waiting at most this long for one. Older ones that wait are passed over.
    pub fn newest(&mut self, wait: Duration) -> io::Result<Option<Frame>> {
        let end = Instant::now() + wait;
        let mut newest = None;
        while self.waits(end.saturating_duration_since(Instant::now()))? {
            let mut buffer = Buffer { kind: VIDEO_CAPTURE, memory: MEMORY_MMAP, ..zeros() };
            match call(self.fd.as_raw_fd(), call::DQBUF, &mut buffer) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    continue;
                }
                Err(e) => return Err(e),
            }
            let sound = buffer.flags & BUFFER_ERROR == 0;
            if let Some(map) = self.maps.get(buffer.index as usize).filter(|_| sound) {
                let used = (buffer.used as usize).min(map.length);
                // SAFETY: the mapping is at least `used` bytes long, and the driver does not write to a buffer that it
                // has handed out.
                let bytes = unsafe { std::slice::from_raw_parts(map.at.cast::<u8>(), used) };
                newest = self.picture(bytes).or(newest);
            }
            call(self.fd.as_raw_fd(), call::QBUF, &mut buffer)?;
            if newest.is_some() && !self.waits(Duration::ZERO)? {
                break;
            }
        }
        Ok(newest)
    }

    fn picture(&self, bytes: &[u8]) -> Option<Frame> {
        if self.pixels == YUYV {
            return yuyv(bytes, self.width, self.height, self.stride);
        }
        let image = image::load_from_memory_with_format(bytes, image::ImageFormat::Jpeg).ok()?.into_rgb8();
        Frame::new(image.width() as usize, image.height() as usize, image.into_raw())
    }
}

/// Packed YUV 4:2:2 as RGB: ITU-R BT.601 with the limited range that cameras use. `None` for too few bytes.
fn yuyv(bytes: &[u8], width: usize, height: usize, stride: usize) -> Option<Frame> {
    let stride = stride.max(width * 2);
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let row = bytes.get(y * stride..y * stride + width * 2)?;
        for four in row.chunks_exact(4) {
            let &[y0, u, y1, v] = four else { continue };
            let (u, v) = (f32::from(u) - 128.0, f32::from(v) - 128.0);
            for luma in [y0, y1] {
                let l = 1.164 * (f32::from(luma) - 16.0);
                data.extend(
                    [l + 1.596 * v, l - 0.392 * u - 0.813 * v, l + 2.017 * u].map(|c| c.round() as u8),
                );
            }
        }
    }
    Frame::new(width, height, data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::mem::{offset_of, size_of};

    /// The kernel finds its structures by their sizes, which are part of the calls' numbers.
    #[test]
    fn structures_are_those_of_the_kernel() {
        let size = |number: u64| (number >> 16 & 0x3fff) as usize;
        assert_eq!(size(call::QUERYCAP), size_of::<Capability>());
        assert_eq!(size(call::S_FMT), size_of::<Format>());
        assert_eq!(size(call::S_PARM), size_of::<Parameters>());
        assert_eq!(size(call::REQBUFS), size_of::<Request>());
        assert_eq!(size(call::QUERYBUF), size_of::<Buffer>());
        assert_eq!((offset_of!(Capability, capabilities), offset_of!(Capability, device_caps)), (84, 88));
        assert_eq!((offset_of!(Format, width), offset_of!(Format, size)), (8, 28));
        assert_eq!(offset_of!(Parameters, numerator), 12);
        let b = (offset_of!(Buffer, used), offset_of!(Buffer, memory), offset_of!(Buffer, offset));
        assert_eq!((b, offset_of!(Buffer, length)), ((8, 60, 64), 72));
    }

    #[test]
    fn colours_of_a_camera_are_those_of_the_scene() {
        // White, black, red, blue, as BT.601 writes them; and a stride with a few bytes more.
        let mut bytes = vec![235, 128, 16, 128, 0, 0];
        bytes.extend([81, 90, 81, 240, 0, 0]);
        bytes.extend([41, 240, 41, 110]);
        let frame = yuyv(&bytes, 2, 3, 6).unwrap();
        assert_eq!(frame.data[..6], [255, 255, 255, 0, 0, 0]);
        let near = |at: usize, wanted: [u8; 3]| {
            let found = &frame.data[at..at + 3];
            assert!(found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?} {wanted:?}");
        };
        near(6, [255, 0, 0]);
        near(12, [0, 0, 255]);
        assert!(yuyv(&bytes, 4, 3, 6).is_none());
    }

    #[test]
    fn what_is_no_camera_is_refused() {
        assert!(Camera::open(Path::new("/dev/null"), 64, 64, 30.0).is_err());
        assert!(Camera::open(Path::new("/nowhere/video9"), 64, 64, 30.0).is_err());
    }
}
