/* Nobody listens on the host. */
#pragma once

#define hook_on(class) false
