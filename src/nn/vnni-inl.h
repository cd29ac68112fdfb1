// HWY_BEFORE_NAMESPACE with VNNI on AVX3_DL: the target implies it, but Highway's compiler options lack it.
// Included once per Highway target.
#include "hwy/highway.h"

#undef MISER_BEFORE_NAMESPACE
#if HWY_TARGET == HWY_AVX3_DL
#define MISER_BEFORE_NAMESPACE() HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni") static_assert(true, "")
#else
#define MISER_BEFORE_NAMESPACE() HWY_BEFORE_NAMESPACE()
#endif
