run lambda { |_env|
  [200, { 'Content-Type' => 'text/plain' }, ["hello from slot #{ENV['PREFORK_SLOT']}\n"]]
}
