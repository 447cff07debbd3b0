/* Every processor but the first. */
#pragma once

/* Starts them, as many as maxcpus= allows. In the thread "init", before any program. */
void smp_init(void);
