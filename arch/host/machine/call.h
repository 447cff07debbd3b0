/* Calls that change no register: on the host they are as all others. */
#pragma once

#define DEFINE_KEEPING(fn)      _Static_assert(sizeof(&fn) != 0, "a function")
#define call_keeping(fn)        fn()
#define call_keeping2(fn, a, b) fn(a, b)
