//! Each finding fires and stays silent.
