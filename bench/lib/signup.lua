-- SPDX-License-Identifier: MIT
-- wrk: POST /api/users/signup, each request a user that no earlier request of any run was.
-- No response(): wrk would call it for every answer, and its processor time is the servers' too.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local sent, prefix, probe = 0, "", false
local head = "POST /api/users/signup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "

function init()
  local f = assert(io.open("/dev/urandom", "rb"))
  local a, b, c, d, e = f:read(5):byte(1, 5)
  f:close()
  prefix = string.format("b%02x%02x%02x%02x%02x_%d_", a, b, c, d, e, number)
  probe = number == 1
end

function request()
  if probe then -- wrk asks once for the request's shape and sends nothing
    probe = false
    return "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
  end
  sent = sent + 1
  local name = prefix .. sent
  local body = '{"username":"' .. name .. '","email":"' .. name .. '@example.com"}'
  return head .. #body .. "\r\n\r\n" .. body
end
