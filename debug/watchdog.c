/*
 * NMIs between CPUs: for now they are only counted.
 */
#include "arch/api/upcall.h"

void nmi_interrupt(const struct regs *r)
{
}
