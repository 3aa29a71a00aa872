# An ordinary server on Ruby's TCPServer: server.rb HOST PORT
require 'socket'

server = TCPServer.new(ARGV[0], ARGV[1].to_i)
body = "pid=#{Process.pid} slot=#{ENV['PREFORK_SLOT']} gen=#{ENV['PREFORK_GENERATION']}\n"
trap('TERM') { exit }
loop do
  Thread.new(server.accept) do |client|
    while (line = client.gets) && line != "\r\n"; end
    client.write "HTTP/1.1 200 OK\r\nContent-Length: #{body.size}\r\n" \
                 "Connection: close\r\n\r\n#{body}"
    client.close
  end
end
