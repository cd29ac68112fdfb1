# Libraries from Debian; the README says why each is here.
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
if(NOT MISER_KERNELS)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
endif()

if(NOT MISER_FUZZ AND NOT MISER_KERNELS)
  find_package(nlohmann_json REQUIRED)
  find_package(ZLIB REQUIRED)
  find_package(CLI11 REQUIRED)
  find_package(benchmark REQUIRED)
  pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
endif()

if(NOT MISER_FUZZ)
  find_package(Threads REQUIRED)
  find_package(GTest REQUIRED)
  pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)

  # Debian's oneDNN ships a CMake package that insists on OpenCL headers; the library and its header are enough.
  find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  add_library(miser_dnnl INTERFACE)
  target_include_directories(miser_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
  target_link_libraries(miser_dnnl INTERFACE ${DNNL_LIBRARY} gomp)
endif()
