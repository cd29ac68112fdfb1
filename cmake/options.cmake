# Language level, warnings and sanitizers shared by every target through miser_options.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(miser_options INTERFACE)
target_include_directories(miser_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(miser_options INTERFACE MISER_VERSION="${PROJECT_VERSION}")
target_compile_options(miser_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  # Vectors of unknown length cannot be members of classes and arrays.
  target_compile_definitions(miser_options INTERFACE
    "HWY_DISABLED_TARGETS=(HWY_SVE|HWY_SVE2|HWY_SVE_256|HWY_SVE2_128)")
else()
  # On x86 the kernels are compiled for AVX-512 with VNNI and VBMI, AVX2, SSE4 and none: each target costs minutes, and
  # much more when it is instrumented.
  set(left_out HWY_AVX3|HWY_SSSE3)
  if(MISER_SANITIZE)
    string(APPEND left_out |HWY_SSE4)
  endif()
  target_compile_definitions(miser_options INTERFACE HWY_WANT_AVX3_DL "HWY_DISABLED_TARGETS=(${left_out})")
endif()
if(MISER_WERROR)
  target_compile_options(miser_options INTERFACE -Werror)
endif()
if(MISER_ASSERTS)
  target_compile_options(miser_options INTERFACE -UNDEBUG)
endif()
if(MISER_SANITIZE)
  target_compile_options(miser_options INTERFACE -fsanitize=${MISER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(miser_options INTERFACE -fsanitize=${MISER_SANITIZE})
  # Checks that double the time to compile: of sizes that AddressSanitizer knows too, and in the tests' own code.
  target_compile_options(miser_options INTERFACE -fno-sanitize=object-size
    $<$<BOOL:$<TARGET_PROPERTY:MISER_IS_TEST>>:-fno-sanitize=undefined>)
endif()

# miser_library(NAME SOURCES ... [ALONE ...] DEPENDS ...): one static library for one folder of src/. Sources after ALONE
# are not compiled with others: those that Highway includes again for each target, and generated ones.
function(miser_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE;DEPENDS" ${ARGN})
  set_source_files_properties(${ARG_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  add_library(miser_${name} STATIC ${ARG_SOURCES} ${ARG_ALONE})
  target_link_libraries(miser_${name} PUBLIC miser_options ${ARG_DEPENDS})
endfunction()
