-- crc32c.lua FILE: prints the CRC32C of a file's bytes, bit by bit, as RFC 3720 defines it.
local file = assert(io.open(arg[1], "rb"))
local crc = 0xFFFFFFFF
for byte in file:read "a":gmatch "." do
  crc = crc ~ byte:byte()
  for _ = 1, 8 do crc = crc >> 1 ~ (crc & 1) * 0x82F63B78 end
end
print(("%08x"):format(crc ~ 0xFFFFFFFF))
