//! Each rule of the machine by itself, in virtual time.


